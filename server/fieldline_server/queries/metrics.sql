-- name: chunks
-- Open chunks by queue and state.
SELECT queue, state, count(*) AS n FROM chunk WHERE tenant_id = %(tenant)s AND state IN ('read', 'scored') GROUP BY 1, 2

-- name: effects
-- Effects by state, as far as they are kept.
SELECT state, count(*) AS n FROM effect WHERE tenant_id = %(tenant)s GROUP BY 1

-- name: dead_letters
-- Open dead letters by flow.
SELECT f.name AS flow, count(*) AS n FROM dead_letter l JOIN flow f ON f.id = l.flow_id
WHERE l.tenant_id = %(tenant)s AND l.state = 'open' GROUP BY 1

-- name: events
-- Events that no chunk has gathered yet.
SELECT count(*) AS n FROM inbox WHERE tenant_id = %(tenant)s AND chunk_id IS NULL

-- name: oldest
-- For how many seconds the oldest work has been due that nothing holds back.
SELECT kind, extract(epoch FROM now() - min(due_at))::float AS seconds FROM (
    SELECT 'score' AS kind, c.due_at FROM chunk c JOIN flow f ON f.id = c.flow_id
    WHERE c.tenant_id = %(tenant)s AND c.state = 'read' AND c.due_at <= now() AND f.paused_at IS NULL
        AND (c.lease_until IS NULL OR c.lease_until < now())
    UNION ALL
    SELECT 'write', e.due_at FROM effect e JOIN flow f ON f.id = e.flow_id JOIN tenant n ON n.id = e.tenant_id
        JOIN target t ON t.tenant_id = e.tenant_id AND t.name = e.target AND (t.breaker = 'closed' OR t.retry_at <= now())
    WHERE e.tenant_id = %(tenant)s AND e.state IN ('intended', 'submitted') AND e.due_at <= now() AND f.paused_at IS NULL
        AND n.paused_at IS NULL AND (e.lease_until IS NULL OR e.lease_until < now())
    UNION ALL
    SELECT 'read', r.due_at FROM run r JOIN flow f ON f.id = r.flow_id
    WHERE r.tenant_id = %(tenant)s AND r.kind = 'batch' AND r.state IN ('queued', 'running') AND NOT r.exhausted
        AND r.due_at <= now() AND f.paused_at IS NULL AND (r.lease_until IS NULL OR r.lease_until < now())
) due GROUP BY kind

-- name: workers
-- Live workers and their slots by queue.
SELECT q AS queue, count(*) AS workers, sum(slots)::int AS slots
FROM worker, unnest(queues) q WHERE seen_at > now() - interval '30 seconds' GROUP BY 1

-- name: paused
-- Whether each flow is paused.
SELECT name AS flow, (paused_at IS NOT NULL)::int AS n FROM flow WHERE tenant_id = %(tenant)s

-- name: writes_paused
-- Whether all write-backs are paused.
SELECT (paused_at IS NOT NULL)::int AS n FROM tenant WHERE id = %(tenant)s

-- name: targets
-- Whether each target's circuit breaker keeps writes from it.
SELECT name AS target, (breaker <> 'closed')::int AS n FROM target WHERE tenant_id = %(tenant)s

-- name: relay
-- Whether a relay leads: it holds this advisory lock.
SELECT EXISTS (
    SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = %(lock)s AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS leads

-- name: log
-- Events that wait for the log, and how long the oldest has.
SELECT count(*) AS n, coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float AS oldest_s
FROM audit_outbox WHERE tenant_id = %(tenant)s

-- name: witnesses
-- For how long the log has had entries that each witness has not seen, and whether it refuses the log.
SELECT w.name AS witness, w.forked::int AS refuses, coalesce(extract(epoch FROM clock_timestamp() - (
    SELECT c.at FROM log_checkpoint c WHERE c.tenant_id = w.tenant_id AND c.size > w.size ORDER BY c.size LIMIT 1)), 0)::float AS lag_s
FROM witness w WHERE w.tenant_id = %(tenant)s
