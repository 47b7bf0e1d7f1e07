-- name: dead_letters
-- Removes dead letters that were replayed or discarded long ago; open ones stay until a person has acted, held ones while held.
DELETE FROM dead_letter WHERE id IN (
    SELECT l.id FROM dead_letter l WHERE l.tenant_id = %(tenant)s AND l.state <> 'open'
        AND l.ended_at < now() - make_interval(days => %(days)s)
        AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.tenant_id = l.tenant_id AND h.key_hash = l.key_hash) LIMIT %(limit)s)

-- name: workers
-- Removes workers that ended without a word.
DELETE FROM worker WHERE id IN (
    SELECT w.id FROM worker w WHERE w.seen_at < now() - make_interval(days => %(days)s) LIMIT %(limit)s)

-- name: checkpoints
-- Removes checkpoints of past days but the last of each day, those that somebody was given, and those that a witness has.
DELETE FROM log_checkpoint WHERE (tenant_id, size) IN (
    SELECT c.tenant_id, c.size FROM log_checkpoint c WHERE c.tenant_id = %(tenant)s AND NOT c.named
        AND c.at < now() - make_interval(days => %(days)s)
        AND NOT EXISTS (SELECT 1 FROM log_cosignature s WHERE s.tenant_id = c.tenant_id AND s.size = c.size)
        AND NOT EXISTS (SELECT 1 FROM witness w WHERE w.tenant_id = c.tenant_id AND w.size = c.size)
        AND date_trunc('day', c.at, 'UTC') = (SELECT date_trunc('day', n.at, 'UTC') FROM log_checkpoint n
            WHERE n.tenant_id = c.tenant_id AND n.size > c.size ORDER BY n.size LIMIT 1)
    ORDER BY c.size LIMIT %(limit)s)
