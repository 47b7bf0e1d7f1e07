-- name: add
-- A frozen slice that is to be written.
INSERT INTO effect (tenant_id, chunk_id, flow_id, release_id, write_name, target, key, seq, rows, body)
VALUES (%(tenant)s, %(chunk)s, %(flow)s, %(release)s, %(write)s, %(target)s, %(key)s, %(seq)s, %(rows)s, %(body)s)

-- name: lock_target
-- Locks the row of an effect's target, so that claims of one target follow each other; what they decide by is read afterwards.
SELECT t.name FROM target t JOIN effect e ON e.tenant_id = t.tenant_id AND e.target = t.name
WHERE e.id = %(id)s AND e.tenant_id = %(tenant)s FOR UPDATE OF t

-- name: peek
-- What decides whether an effect may be claimed now; its target is locked.
SELECT e.target, e.rows, e.reserved, e.flow_id, now() AS clock, t.concurrency, t.rate_per_s, t.burst, t.tokens, t.refilled_at, t.breaker,
    t.failures, t.retry_at, t.reason, r.body->'flow'->'guards'->>'max_changed_per_hour' AS bound,
    (SELECT count(*) FROM effect o WHERE o.tenant_id = e.tenant_id AND o.target = e.target AND o.lease_owner IS NOT NULL
        AND o.lease_until > now()) AS in_flight
FROM effect e JOIN target t ON t.tenant_id = e.tenant_id AND t.name = e.target
JOIN flow f ON f.id = e.flow_id JOIN tenant n ON n.id = f.tenant_id JOIN release r ON r.id = f.release_id
WHERE e.id = %(id)s AND e.tenant_id = %(tenant)s AND e.state IN ('intended', 'submitted') AND e.due_at <= now()
    AND (e.lease_until IS NULL OR e.lease_until < now()) AND f.paused_at IS NULL AND n.paused_at IS NULL

-- name: claim
-- Takes the lease of an effect; who ended without a word may have sent it.
UPDATE effect SET lease_owner = %(owner)s, lease_until = now() + make_interval(secs => %(lease_s)s), fence = fence + 1,
    attempts = attempts + 1, crashes = crashes + 1, unclear = unclear OR crashes > 0, reserved = true
WHERE id = %(id)s AND state IN ('intended', 'submitted') AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
RETURNING id, chunk_id, flow_id, release_id, write_name, target, key, seq, state, rows, body, handle, fence, attempts, crashes,
    unclear, created_at, (SELECT run_id FROM chunk c WHERE c.id = effect.chunk_id) AS run_id,
    (SELECT undo_of FROM chunk c WHERE c.id = effect.chunk_id) AS undo_of

-- name: renew
-- Keeps the lease of an effect.
UPDATE effect SET lease_until = now() + make_interval(secs => %(lease_s)s)
WHERE id = %(id)s AND fence = %(fence)s AND lease_owner IS NOT NULL

-- name: release
-- Gives the lease back; the effect is due again after the wait.
UPDATE effect SET lease_owner = NULL, lease_until = NULL, sent_at = NULL, due_at = now() + make_interval(secs => %(wait_s)s),
    attempts = attempts - %(uncounted)s, crashes = CASE WHEN %(ended_well)s THEN 0 ELSE crashes END, last_error = %(reason)s,
    unclear = unclear OR %(sent)s
WHERE id = %(id)s AND fence = %(fence)s AND lease_owner IS NOT NULL

-- name: park
-- Puts off an effect that nobody holds.
UPDATE effect SET sent_at = NULL, due_at = now() + make_interval(secs => %(wait_s)s)
WHERE id = %(id)s AND state IN ('intended', 'submitted') AND (lease_until IS NULL OR lease_until < now())

-- name: submitted
-- Notes that the target works on it and is to be asked again; what failed before that counts no more.
UPDATE effect SET state = 'submitted', handle = %(handle)s, lease_owner = NULL, lease_until = NULL, sent_at = NULL, crashes = 0,
    attempts = 0, due_at = now() + make_interval(secs => %(wait_s)s), last_error = NULL
WHERE id = %(id)s AND fence = %(fence)s AND lease_owner IS NOT NULL

-- name: finish
-- Ends an effect, under its lease.
UPDATE effect SET state = %(state)s, lease_owner = NULL, lease_until = NULL, finished_at = now(), last_error = %(reason)s,
    written = %(written)s, refused = %(refused)s, left_alone = %(left_alone)s,
    body = CASE WHEN %(state)s = 'unknown' THEN body END
WHERE id = %(id)s AND fence = %(fence)s AND state IN ('intended', 'submitted') AND lease_owner IS NOT NULL

-- name: reopen
-- A person replays an effect whose outcome is unknown.
UPDATE effect SET state = 'intended', finished_at = NULL, due_at = now(), sent_at = NULL, attempts = 0, crashes = 0, unclear = true
WHERE id = %(id)s AND tenant_id = %(tenant)s AND state = 'unknown'
RETURNING id, chunk_id, written, refused, left_alone

-- name: rivals
-- Of some keys (positions from 1), the latest decisions for a write step that are newer than this one or in one of the chunks asked for.
SELECT w.position::int AS position, d.seq, d.chunk_id
FROM unnest(%(hashes)s::text::uuid[]) WITH ORDINALITY AS w (key_hash, position)
CROSS JOIN LATERAL (
    SELECT o.seq, o.chunk_id FROM decision o
    WHERE o.key_hash = w.key_hash AND o.flow_id = %(flow)s AND o.tenant_id = %(tenant)s
        AND ((o.seq, o.chunk_id) > (%(seq)s::bigint, %(chunk)s::bigint) OR o.chunk_id = ANY (%(chunks)s::bigint[]))
        AND coalesce((SELECT c.only_write FROM chunk c WHERE c.id = o.chunk_id), %(write)s) = %(write)s
    ORDER BY o.seq DESC, o.chunk_id DESC LIMIT 8
) d
ORDER BY w.position, d.seq DESC, d.chunk_id DESC

-- name: target_state
-- Keeps a target's bucket and breaker.
UPDATE target SET tokens = %(tokens)s, refilled_at = %(refilled_at)s, breaker = %(breaker)s, failures = %(failures)s,
    retry_at = %(retry_at)s, reason = %(reason)s
WHERE tenant_id = %(tenant)s AND name = %(name)s

-- name: target
-- A target's bucket and breaker, locked.
SELECT concurrency, rate_per_s, coalesce(burst, 10) AS burst, tokens, refilled_at, breaker, failures, retry_at, reason, now() AS clock
FROM target WHERE tenant_id = %(tenant)s AND name = %(name)s FOR UPDATE

-- name: put_target
-- Sets a target's limits; its bucket and breaker stay.
INSERT INTO target (tenant_id, name, rate_per_s, burst, concurrency, tokens)
VALUES (%(tenant)s, %(name)s, %(rate_per_s)s, %(burst)s, %(concurrency)s, %(burst)s)
ON CONFLICT (tenant_id, name) DO UPDATE SET rate_per_s = excluded.rate_per_s, burst = excluded.burst, concurrency = excluded.concurrency

-- name: close_breaker
-- Lets writes to a target be tried again at once.
UPDATE target SET breaker = 'closed', failures = 0, retry_at = NULL, reason = NULL WHERE tenant_id = %(tenant)s
    AND (%(name)s::text IS NULL OR name = %(name)s)

-- name: hasten
-- Makes the waiting effects of a target due at once.
UPDATE effect SET due_at = now(), sent_at = NULL WHERE tenant_id = %(tenant)s AND state IN ('intended', 'submitted')
    AND lease_until IS NULL AND due_at > now() AND (%(name)s::text IS NULL OR target = %(name)s)

-- name: reserve_changes
-- Counts rows that a flow is about to change in this hour; no row where the bound would be passed.
INSERT INTO changed_hour (tenant_id, flow_id, hour, rows)
SELECT %(tenant)s, %(flow)s, date_trunc('hour', now()), %(rows)s WHERE %(rows)s <= %(bound)s
ON CONFLICT (tenant_id, flow_id, hour) DO UPDATE SET rows = changed_hour.rows + excluded.rows
WHERE changed_hour.rows + excluded.rows <= %(bound)s
RETURNING rows

-- name: forget_changes
-- Lets a flow change as much again: a person has looked at it and lets it go on.
DELETE FROM changed_hour WHERE flow_id = %(flow)s AND tenant_id = %(tenant)s

-- name: listing
-- Effects of a run or a chunk, in order.
SELECT e.id, e.chunk_id, e.write_name AS write, e.target, e.key, e.state, e.rows, e.attempts, e.created_at, e.finished_at, e.due_at, e.last_error
FROM effect e JOIN chunk c ON c.id = e.chunk_id
WHERE e.tenant_id = %(tenant)s AND (%(run)s::bigint IS NULL OR c.run_id = %(run)s) AND (%(chunk)s::bigint IS NULL OR e.chunk_id = %(chunk)s)
    AND e.id > %(after)s
ORDER BY e.id LIMIT %(limit)s
