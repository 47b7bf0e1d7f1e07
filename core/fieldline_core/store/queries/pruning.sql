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
