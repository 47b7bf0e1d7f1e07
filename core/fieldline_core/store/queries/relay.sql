-- name: slots
-- Live slots of each queue.
SELECT q AS queue, sum(slots)::int AS slots FROM worker, unnest(queues) q WHERE seen_at > now() - interval '30 seconds' GROUP BY q

-- name: announced
-- Work that was announced and not yet claimed, by queue.
SELECT queue, sum(n)::int AS n FROM (
    SELECT queue, count(*) AS n FROM chunk WHERE tenant_id = %(tenant)s AND state = 'read' AND lease_owner IS NULL
        AND due_at <= now() AND sent_at > now() - make_interval(secs => %(resend_s)s) GROUP BY queue
    UNION ALL
    SELECT 'cpu', count(*) FROM run WHERE tenant_id = %(tenant)s AND state IN ('queued', 'running') AND lease_owner IS NULL
        AND due_at <= now() AND sent_at > now() - make_interval(secs => %(resend_s)s)
    UNION ALL
    SELECT 'write', count(*) FROM effect WHERE tenant_id = %(tenant)s AND state IN ('intended', 'submitted') AND lease_owner IS NULL
        AND due_at <= now() AND sent_at > now() - make_interval(secs => %(resend_s)s)
) a GROUP BY queue

-- name: announce_chunks
-- Marks chunks that are due on a queue as announced.
UPDATE chunk SET sent_at = now() WHERE id IN (
    SELECT c.id FROM chunk c JOIN flow f ON f.id = c.flow_id
    WHERE c.tenant_id = %(tenant)s AND c.state = 'read' AND c.queue = %(queue)s AND c.due_at <= now()
        AND (c.lease_until IS NULL OR c.lease_until < now())
        AND (c.sent_at IS NULL OR c.sent_at < now() - make_interval(secs => %(resend_s)s)) AND f.paused_at IS NULL
    ORDER BY c.due_at, c.id LIMIT %(limit)s FOR UPDATE OF c SKIP LOCKED)
RETURNING id

-- name: announce_runs
-- Marks runs that are to be read, and whose chunks do not pile up, as announced.
UPDATE run SET sent_at = now() WHERE id IN (
    SELECT r.id FROM run r JOIN flow f ON f.id = r.flow_id
    WHERE r.tenant_id = %(tenant)s AND r.kind = 'batch' AND r.state IN ('queued', 'running') AND NOT r.exhausted AND r.due_at <= now()
        AND (r.lease_until IS NULL OR r.lease_until < now())
        AND (r.sent_at IS NULL OR r.sent_at < now() - make_interval(secs => %(resend_s)s)) AND f.paused_at IS NULL
        AND (SELECT count(*) FROM chunk c WHERE c.run_id = r.id AND c.state IN ('read', 'scored')) < %(max_waiting)s
    ORDER BY r.due_at, r.id LIMIT %(limit)s FOR UPDATE OF r SKIP LOCKED)
RETURNING id

-- name: announce_prepared
-- Marks runs that have ended while their source keeps something for them as announced.
UPDATE run SET sent_at = now() WHERE id IN (
    SELECT id FROM run WHERE tenant_id = %(tenant)s AND prepared AND state IN ('succeeded', 'failed', 'cancelled') AND due_at <= now()
        AND (sent_at IS NULL OR sent_at < now() - make_interval(secs => %(resend_s)s))
    ORDER BY due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id

-- name: announce_effects
-- Marks effects that are due as announced: for each target as many as it takes now, and the targets take turns.
UPDATE effect SET sent_at = now() WHERE id IN (
    SELECT id FROM (
        SELECT due.id, due.due_at, row_number() OVER (PARTITION BY t.name ORDER BY due.due_at, due.id) AS turn
        FROM (
            SELECT t.tenant_id, t.name, greatest(0, t.room - (SELECT count(*) FROM effect e
                WHERE e.tenant_id = t.tenant_id AND e.target = t.name AND e.state IN ('intended', 'submitted') AND e.lease_owner IS NULL
                    AND e.due_at <= now() AND e.sent_at > now() - make_interval(secs => %(resend_s)s))) AS free
            FROM target_room t JOIN tenant n ON n.id = t.tenant_id
            WHERE t.tenant_id = %(tenant)s AND n.paused_at IS NULL AND t.room > 0
        ) t CROSS JOIN LATERAL (
            SELECT e.id, e.due_at FROM effect e JOIN flow f ON f.id = e.flow_id
            WHERE e.tenant_id = t.tenant_id AND e.target = t.name AND e.state IN ('intended', 'submitted') AND e.due_at <= now()
                AND (e.lease_until IS NULL OR e.lease_until < now())
                AND (e.sent_at IS NULL OR e.sent_at < now() - make_interval(secs => %(resend_s)s)) AND f.paused_at IS NULL
            ORDER BY e.due_at, e.id LIMIT t.free FOR UPDATE OF e SKIP LOCKED
        ) due
    ) turns ORDER BY turn, due_at, id LIMIT %(limit)s)
RETURNING id

-- name: take_back_score
-- Chunks that were announced and not rung for.
UPDATE chunk SET sent_at = NULL WHERE id = ANY(%(ids)s) AND tenant_id = %(tenant)s AND lease_owner IS NULL

-- name: take_back_read
-- Runs that were announced and not rung for.
UPDATE run SET sent_at = NULL WHERE id = ANY(%(ids)s) AND tenant_id = %(tenant)s AND lease_owner IS NULL

-- name: take_back_write
-- Effects that were announced and not rung for.
UPDATE effect SET sent_at = NULL WHERE id = ANY(%(ids)s) AND tenant_id = %(tenant)s AND lease_owner IS NULL

-- name: notify
-- Wakes the relay when the transaction commits.
SELECT pg_notify('fieldline_due', '')

-- name: due_schedules
-- Flows whose schedule is due.
SELECT id FROM flow WHERE tenant_id = %(tenant)s AND next_at <= now() AND paused_at IS NULL AND release_id IS NOT NULL ORDER BY next_at, id

-- name: lock_due_schedule
-- A flow whose schedule is due, locked.
SELECT id, name, release_id, schedule, next_at, now() AS clock FROM flow
WHERE id = %(flow)s AND tenant_id = %(tenant)s AND next_at <= now() AND paused_at IS NULL AND release_id IS NOT NULL
FOR UPDATE SKIP LOCKED

-- name: suspend
-- Stops a flow that the engine cannot go on with; no row where it is stopped already.
UPDATE flow SET paused_at = now(), paused_by = 'engine', paused_reason = %(reason)s
WHERE tenant_id = %(tenant)s AND id = %(flow)s AND paused_at IS NULL RETURNING name

-- name: reschedule
-- When a flow's schedule is due again.
UPDATE flow SET next_at = %(next_at)s WHERE id = %(flow)s AND tenant_id = %(tenant)s

-- name: seen
-- A worker's sign of life.
INSERT INTO worker (id, queues, slots) VALUES (%(id)s, %(queues)s, %(slots)s)
ON CONFLICT (id) DO UPDATE SET seen_at = now()

-- name: started
-- Notes that a worker started, for the first time or again: what it claimed before counts no longer.
INSERT INTO worker (id, queues, slots) VALUES (%(id)s, %(queues)s, %(slots)s)
ON CONFLICT (id) DO UPDATE SET started_at = now(), seen_at = now(), claimed_at = NULL

-- name: claimed
-- Notes that a worker claimed something, at most every few seconds.
UPDATE worker SET claimed_at = now() WHERE id = %(id)s AND (claimed_at IS NULL OR claimed_at < now() - interval '5 seconds')

-- name: gone
-- Removes a worker that ended.
DELETE FROM worker WHERE id = %(id)s

-- name: stalled
-- Whether a worker has claimed nothing for long, and holds nothing, while work of its queues waits.
SELECT EXISTS (
    SELECT 1 FROM worker w WHERE w.id = %(id)s AND coalesce(w.claimed_at, w.started_at) < now() - make_interval(secs => %(stall_s)s)
    AND NOT EXISTS (SELECT 1 FROM chunk c WHERE c.state = 'read' AND c.lease_until > now() AND starts_with(c.lease_owner, w.id))
    AND NOT EXISTS (SELECT 1 FROM run r WHERE r.state = 'running' AND r.lease_until > now() AND starts_with(r.lease_owner, w.id))
    AND NOT EXISTS (SELECT 1 FROM effect e WHERE e.state IN ('intended', 'submitted') AND e.lease_until > now()
        AND starts_with(e.lease_owner, w.id)) AND (
        EXISTS (SELECT 1 FROM chunk c JOIN flow f ON f.id = c.flow_id WHERE c.tenant_id = %(tenant)s AND c.state = 'read'
            AND c.queue = ANY(w.queues) AND c.due_at < now() - make_interval(secs => %(stall_s)s)
            AND (c.lease_until IS NULL OR c.lease_until < now()) AND f.paused_at IS NULL)
        OR ('write' = ANY(w.queues) AND EXISTS (SELECT 1 FROM effect e JOIN flow f ON f.id = e.flow_id JOIN tenant n ON n.id = e.tenant_id
            JOIN target_room t ON t.tenant_id = e.tenant_id AND t.name = e.target AND t.room > 0
            WHERE e.tenant_id = %(tenant)s AND e.state IN ('intended', 'submitted')
            AND e.due_at < now() - make_interval(secs => %(stall_s)s) AND (e.lease_until IS NULL OR e.lease_until < now())
            AND f.paused_at IS NULL AND n.paused_at IS NULL))
        OR ('cpu' = ANY(w.queues) AND EXISTS (SELECT 1 FROM run r JOIN flow f ON f.id = r.flow_id WHERE r.tenant_id = %(tenant)s
            AND r.kind = 'batch' AND r.state IN ('queued', 'running') AND NOT r.exhausted
            AND r.due_at < now() - make_interval(secs => %(stall_s)s)
            AND (r.lease_until IS NULL OR r.lease_until < now()) AND f.paused_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM chunk c WHERE c.run_id = r.id AND c.state IN ('read', 'scored')))))
) AS yes
