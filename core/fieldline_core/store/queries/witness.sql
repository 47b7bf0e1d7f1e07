-- name: add
-- A witness that is shown checkpoints from now on.
INSERT INTO witness (tenant_id, name) VALUES (%(tenant)s, %(name)s) ON CONFLICT DO NOTHING

-- name: remove_others
-- Forgets witnesses that are not asked any more; what they signed stays.
DELETE FROM witness WHERE tenant_id = %(tenant)s AND name <> ALL(%(names)s)

-- name: claim
-- Takes the newest checkpoint for a witness that is due and has not seen it; the claim ends by itself.
UPDATE witness w SET due_at = now() + make_interval(secs => %(claim_s)s)
FROM (SELECT size, note FROM log_checkpoint WHERE tenant_id = %(tenant)s ORDER BY size DESC LIMIT 1) newest
WHERE w.tenant_id = %(tenant)s AND w.name = %(name)s AND w.due_at <= now() AND (w.size <> newest.size OR w.seen_at IS NULL)
RETURNING w.size AS seen, w.failures, w.forked, newest.size, newest.note

-- name: seen
-- A witness has this checkpoint.
UPDATE witness SET size = %(size)s, seen_at = now(), due_at = now() + make_interval(secs => %(wait_s)s), failures = 0, problem = NULL,
    forked = false
WHERE tenant_id = %(tenant)s AND name = %(name)s

-- name: cosigned
-- What a witness signed.
INSERT INTO log_cosignature (tenant_id, size, witness, lines)
SELECT tenant_id, size, %(name)s, %(lines)s FROM log_checkpoint WHERE tenant_id = %(tenant)s AND size = %(size)s
ON CONFLICT (tenant_id, size, witness) DO UPDATE SET lines = excluded.lines, at = excluded.at

-- name: failed
-- A witness did not take a checkpoint.
UPDATE witness SET due_at = now() + make_interval(secs => %(wait_s)s), failures = failures + 1, problem = %(problem)s, forked = %(forked)s
WHERE tenant_id = %(tenant)s AND name = %(name)s

-- name: listing
-- Each witness, and for how long the log has had entries that it has not seen.
SELECT w.name, w.size, w.seen_at, w.failures, w.problem, w.forked,
    coalesce(extract(epoch FROM clock_timestamp() - (
        SELECT c.at FROM log_checkpoint c WHERE c.tenant_id = w.tenant_id AND c.size > w.size ORDER BY c.size LIMIT 1)), 0)::float AS lag_s
FROM witness w WHERE w.tenant_id = %(tenant)s ORDER BY w.name

-- name: lines_under
-- What witnesses signed under a checkpoint.
SELECT lines FROM log_cosignature WHERE tenant_id = %(tenant)s AND size = %(size)s ORDER BY witness

-- name: newest
-- The newest checkpoint under which a witness signed.
SELECT c.size, c.note FROM log_checkpoint c WHERE c.tenant_id = %(tenant)s
    AND EXISTS (SELECT 1 FROM log_cosignature s WHERE s.tenant_id = c.tenant_id AND s.size = c.size AND s.lines <> '')
ORDER BY c.size DESC LIMIT 1
