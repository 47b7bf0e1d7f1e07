-- name: untold
-- Runs whose start or end was not told yet, in their order.
SELECT r.id, r.release_id, r.kind, r.state, r.told, r.reason, coalesce(r.started_at, r.created_at) AS began, r.finished_at,
    (SELECT coalesce(sum(c.written), 0) FROM chunk c WHERE c.run_id = r.id)::bigint AS written,
    (SELECT name FROM log_key k WHERE k.tenant_id = r.tenant_id ORDER BY k.created_at LIMIT 1) AS log
FROM run r
WHERE r.tenant_id = %(tenant)s AND r.told IS DISTINCT FROM 'ended' AND r.state <> 'queued' AND (r.told IS NULL OR r.state <> 'running')
ORDER BY r.id LIMIT %(limit)s

-- name: tell
-- Notes what was told of a run.
UPDATE run SET told = %(told)s WHERE tenant_id = %(tenant)s AND id = %(id)s
