-- name: add
-- A new run.
INSERT INTO run (tenant_id, flow_id, release_id, kind, requested_by, row_limit, rescore, disjoint, exhausted)
VALUES (%(tenant)s, %(flow)s, %(release)s, %(kind)s, %(by)s, %(row_limit)s, %(rescore)s, %(disjoint)s, %(exhausted)s)
RETURNING id

-- name: find_standing
-- The run that gathers a release's events.
SELECT id FROM run
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND release_id = %(release)s AND kind = 'events' AND state IN ('queued', 'running')

-- name: add_standing
-- Makes the run that gathers a release's events; no row where another process has just made it.
INSERT INTO run (tenant_id, flow_id, release_id, kind, state, requested_by, started_at)
VALUES (%(tenant)s, %(flow)s, %(release)s, 'events', 'running', %(by)s, now())
ON CONFLICT (tenant_id, flow_id, release_id) WHERE kind = 'events' AND state IN ('queued', 'running') DO NOTHING
RETURNING id

-- name: claim
-- Takes the lease of a run that is to be read.
UPDATE run SET state = 'running', started_at = coalesce(started_at, now()), lease_owner = %(owner)s,
    lease_until = now() + make_interval(secs => %(lease_s)s), fence = fence + 1, attempts = attempts + 1, crashes = crashes + 1
WHERE id = %(id)s AND tenant_id = %(tenant)s AND kind = 'batch' AND state IN ('queued', 'running') AND NOT exhausted
    AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
    AND EXISTS (SELECT 1 FROM flow f WHERE f.id = run.flow_id AND f.paused_at IS NULL)
RETURNING id, flow_id, release_id, fence, attempts, crashes, cursor, row_limit, rows_read, rescore,
    (SELECT cursor FROM flow f WHERE f.id = run.flow_id) AS flow_cursor

-- name: renew
-- Keeps the lease of a run.
UPDATE run SET lease_until = now() + make_interval(secs => %(lease_s)s)
WHERE id = %(id)s AND fence = %(fence)s AND lease_owner IS NOT NULL AND state = 'running'

-- name: release
-- Gives the lease back; the run is due again after the wait.
UPDATE run SET lease_owner = NULL, lease_until = NULL, sent_at = NULL, due_at = now() + make_interval(secs => %(wait_s)s),
    attempts = attempts - %(uncounted)s, crashes = CASE WHEN %(ended_well)s THEN 0 ELSE crashes END, reason = %(reason)s
WHERE id = %(id)s AND fence = %(fence)s AND lease_owner IS NOT NULL

-- name: advance
-- Notes that a page was read, under the lease.
UPDATE run SET cursor = %(cursor)s, rows_read = rows_read + %(rows)s, duplicates = duplicates + %(duplicates)s, attempts = 1,
    crashes = 1, reason = NULL
WHERE id = %(id)s AND fence = %(fence)s AND state = 'running' AND lease_owner IS NOT NULL

-- name: wait
-- Notes that the source prepares what is to be read, and gives the lease back; the run is due again after the wait.
UPDATE run SET cursor = %(cursor)s, prepared = true, reason = 'the source prepares what is to be read', attempts = 0, crashes = 0,
    lease_owner = NULL, lease_until = NULL, sent_at = NULL, due_at = now() + make_interval(secs => %(wait_s)s)
WHERE id = %(id)s AND fence = %(fence)s AND state = 'running' AND lease_owner IS NOT NULL

-- name: exhaust
-- Notes that no more is to be read, and gives the lease back; what was read to its end is no longer prepared, unless it is left.
UPDATE run SET exhausted = true, lease_owner = NULL, lease_until = NULL, attempts = 0, crashes = 0, reason = NULL,
    prepared = prepared AND NOT %(whole)s
WHERE id = %(id)s AND fence = %(fence)s AND state = 'running' AND lease_owner IS NOT NULL

-- name: remember_cursor
-- Where the flow's next run goes on.
UPDATE flow SET cursor = r.cursor FROM run r
WHERE flow.id = %(flow)s AND flow.tenant_id = %(tenant)s AND r.id = %(id)s AND r.cursor IS NOT NULL

-- name: lock_exhausted
-- Locks a run that has been read to its end, so that of two chunks that end together one sees both.
SELECT id FROM run WHERE id = %(id)s AND exhausted AND state = 'running' FOR UPDATE

-- name: finish
-- Ends a run that has been read to its end and has no open chunk.
UPDATE run SET state = 'succeeded', finished_at = now()
WHERE id = %(id)s AND exhausted AND state = 'running'
    AND NOT EXISTS (SELECT 1 FROM chunk c WHERE c.run_id = run.id AND c.state IN ('read', 'scored'))
RETURNING id

-- name: finish_ended
-- Ends all runs that have been read to their end and have no open chunk, and standing runs of earlier releases.
UPDATE run SET state = 'succeeded', finished_at = now()
WHERE tenant_id = %(tenant)s AND state IN ('queued', 'running') AND lease_owner IS NULL
    AND NOT EXISTS (SELECT 1 FROM chunk c WHERE c.run_id = run.id AND c.state IN ('read', 'scored'))
    AND (exhausted OR (kind = 'events'
        AND EXISTS (SELECT 1 FROM flow f WHERE f.id = run.flow_id AND f.release_id <> run.release_id)
        AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.flow_id = run.flow_id AND i.release_id = run.release_id AND i.chunk_id IS NULL)))
RETURNING id

-- name: fail
-- Ends a run with a reason; what was read goes on.
UPDATE run SET state = 'failed', reason = %(reason)s, finished_at = now(), lease_owner = NULL, lease_until = NULL, sent_at = NULL,
    due_at = now(), attempts = 0
WHERE id = %(id)s AND fence = %(fence)s AND state IN ('queued', 'running')

-- name: cancel
-- Ends a batch run at a person's wish; chunks that were not scored are dead.
UPDATE run SET state = 'cancelled', reason = %(reason)s, finished_at = now(), lease_owner = NULL, lease_until = NULL, fence = fence + 1,
    sent_at = NULL, due_at = now(), attempts = 0
WHERE id = %(id)s AND tenant_id = %(tenant)s AND kind = 'batch' AND state IN ('queued', 'running')
RETURNING id, (SELECT name FROM flow WHERE flow.id = run.flow_id) AS flow

-- name: cancel_chunks
-- Gives up the chunks of a cancelled run that were not scored.
UPDATE chunk SET state = 'dead', body = NULL, done_at = now(), last_error = 'the run was cancelled', lease_owner = NULL,
    lease_until = NULL, fence = fence + 1
WHERE run_id = %(id)s AND state = 'read' RETURNING id, rows, intake_from

-- name: claim_prepared
-- Takes up a run that has ended while its source keeps something for it; the waits double, until the last one most of a day later.
UPDATE run SET attempts = attempts + 1, due_at = now() + interval '1 minute' * power(2, attempts), sent_at = NULL,
    prepared = attempts < 10
WHERE id = %(id)s AND tenant_id = %(tenant)s AND prepared AND state IN ('succeeded', 'failed', 'cancelled') AND due_at <= now()
RETURNING release_id, cursor

-- name: abandoned
-- Notes that the source keeps nothing more for a run that has ended.
UPDATE run SET prepared = false WHERE id = %(id)s AND tenant_id = %(tenant)s

-- name: active
-- Whether a batch run of the flow is still going on.
SELECT id FROM run WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND kind = 'batch' AND state IN ('queued', 'running') LIMIT 1

-- name: room
-- How many chunks of a run are under way.
SELECT count(*) AS waiting FROM chunk WHERE tenant_id = %(tenant)s AND run_id = %(id)s AND state IN ('read', 'scored')

-- name: listing
-- Runs with the counts of their rows, newest first.
SELECT r.id, f.name AS flow, r.kind, r.state, r.reason, r.requested_by, r.created_at, r.started_at, r.finished_at, r.exhausted,
    r.rows_read, r.duplicates, e.digest AS release, coalesce(c.rows, 0)::bigint AS rows, coalesce(c.scored, 0)::bigint AS scored,
    coalesce(c.held, 0)::bigint AS held, coalesce(c.skipped, 0)::bigint AS skipped, coalesce(c.written, 0)::bigint AS written,
    coalesce(c.refused, 0)::bigint AS refused, coalesce(c.left_alone, 0)::bigint AS left_alone,
    coalesce(c.open_chunks, 0) AS open_chunks, coalesce(c.dead, 0)::bigint AS dead
FROM run r JOIN flow f ON f.id = r.flow_id JOIN release e ON e.id = r.release_id
LEFT JOIN LATERAL (
    SELECT sum(rows) AS rows, sum(scored) AS scored, sum(held) AS held, sum(skipped) AS skipped, sum(written) AS written,
        sum(refused) AS refused, sum(left_alone) AS left_alone, count(*) FILTER (WHERE state IN ('read', 'scored')) AS open_chunks,
        sum(rows) FILTER (WHERE state = 'dead') AS dead
    FROM chunk WHERE run_id = r.id
) c ON true
WHERE r.tenant_id = %(tenant)s AND (%(id)s::bigint IS NULL OR r.id = %(id)s) AND (%(flow)s::text IS NULL OR f.name = %(flow)s)
    AND (%(state)s::text IS NULL OR r.state = %(state)s) AND (%(before)s::bigint IS NULL OR r.id < %(before)s)
ORDER BY r.id DESC LIMIT %(limit)s
