-- name: effects
-- Removes ended effects of chunks that ended long ago; unknown ones stay until a person has acted.
DELETE FROM effect WHERE id IN (
    SELECT e.id FROM effect e JOIN chunk c ON c.id = e.chunk_id
    WHERE e.tenant_id = %(tenant)s AND e.state IN ('confirmed', 'refused') AND c.state IN ('done', 'dead')
        AND c.done_at < now() - make_interval(days => %(days)s) LIMIT %(limit)s)

-- name: chunks
-- Removes chunks that ended long ago and have no effect left; their flow keeps in mind that it has decided before.
WITH gone AS (
    DELETE FROM chunk WHERE id IN (
        SELECT c.id FROM chunk c WHERE c.tenant_id = %(tenant)s AND c.state IN ('done', 'dead')
            AND c.done_at < now() - make_interval(days => %(days)s)
            AND NOT EXISTS (SELECT 1 FROM effect e WHERE e.chunk_id = c.id) LIMIT %(limit)s)
    RETURNING flow_id
), noted AS (
    UPDATE flow SET pruned = true WHERE id IN (SELECT flow_id FROM gone) AND NOT pruned
)
SELECT 1 FROM gone

-- name: runs
-- Removes runs that ended long ago and have no chunk left.
DELETE FROM run WHERE id IN (
    SELECT r.id FROM run r WHERE r.tenant_id = %(tenant)s AND r.state IN ('succeeded', 'failed', 'cancelled')
        AND r.finished_at < now() - make_interval(days => %(days)s)
        AND NOT EXISTS (SELECT 1 FROM chunk c WHERE c.run_id = r.id) LIMIT %(limit)s)

-- name: inbox
-- Removes events that were decided on long ago, but for those of a record that is held.
DELETE FROM inbox WHERE id IN (
    SELECT i.id FROM inbox i WHERE i.tenant_id = %(tenant)s AND i.chunk_id IS NOT NULL
        AND i.received_at < now() - make_interval(days => %(days)s)
        AND NOT EXISTS (SELECT 1 FROM chunk c WHERE c.id = i.chunk_id AND c.state = 'read')
        AND NOT EXISTS (SELECT 1 FROM legal_hold h WHERE h.tenant_id = i.tenant_id AND h.key_hash = i.key_hash) LIMIT %(limit)s)
