-- name: add
-- A new chunk that waits for scoring; `seq` orders the decisions on a key, by default in the order of reading.
INSERT INTO chunk (id, tenant_id, run_id, flow_id, release_id, seq, queue, rows, body, replay_of, only_write, crashes,
    received_at, intake_from, due_at)
OVERRIDING SYSTEM VALUE
SELECT n.id, %(tenant)s, %(run)s, %(flow)s, %(release)s, coalesce(%(seq)s, n.id), %(queue)s, %(rows)s, %(body)s, %(replay_of)s,
    %(only_write)s, %(crashes)s, coalesce(%(received_at)s, now()), %(intake_from)s, now() + make_interval(secs => %(wait_s)s)
FROM (SELECT nextval(pg_get_serial_sequence('chunk', 'id')) AS id) n
RETURNING id

-- name: count_in
-- Counts records that a flow takes in, and says how many it had taken in before; others wait until this is committed.
INSERT INTO intake (tenant_id, flow_id, received) VALUES (%(tenant)s, %(flow)s, %(rows)s)
ON CONFLICT (tenant_id, flow_id) DO UPDATE SET received = intake.received + excluded.received
RETURNING received - %(rows)s AS intake_from

-- name: claim
-- Takes the lease of a chunk that is to be scored.
UPDATE chunk SET lease_owner = %(owner)s, lease_until = now() + make_interval(secs => %(lease_s)s), fence = fence + 1,
    attempts = attempts + 1, crashes = crashes + 1
WHERE id = %(id)s AND tenant_id = %(tenant)s AND state = 'read' AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
    AND EXISTS (SELECT 1 FROM flow f WHERE f.id = chunk.flow_id AND f.paused_at IS NULL)
RETURNING id, run_id, flow_id, release_id, seq, rows, body, fence, attempts, crashes, replay_of, only_write, received_at, queue,
    intake_from, last_error, now() AS clock,
    (SELECT rescore FROM run r WHERE r.id = chunk.run_id) AS rescore, (SELECT disjoint FROM run r WHERE r.id = chunk.run_id) AS disjoint

-- name: renew
-- Keeps the lease of a chunk.
UPDATE chunk SET lease_until = now() + make_interval(secs => %(lease_s)s)
WHERE id = %(id)s AND fence = %(fence)s AND lease_owner IS NOT NULL AND state = 'read'

-- name: release
-- Gives the lease back; the chunk is due again after the wait.
UPDATE chunk SET lease_owner = NULL, lease_until = NULL, sent_at = NULL, due_at = now() + make_interval(secs => %(wait_s)s),
    attempts = attempts - %(uncounted)s, crashes = CASE WHEN %(ended_well)s THEN 0 ELSE crashes END, last_error = %(reason)s
WHERE id = %(id)s AND fence = %(fence)s AND lease_owner IS NOT NULL

-- name: scored
-- Moves a chunk on, under its lease; without effects it is done.
UPDATE chunk SET state = CASE WHEN %(effects)s = 0 THEN 'done' ELSE 'scored' END, body = NULL, scored = %(scored)s, held = %(held)s,
    skipped = %(skipped)s, open_effects = %(effects)s, scored_at = now(), done_at = CASE WHEN %(effects)s = 0 THEN now() END,
    lease_owner = NULL, lease_until = NULL, crashes = 0, last_error = NULL
WHERE id = %(id)s AND fence = %(fence)s AND state = 'read' AND lease_owner IS NOT NULL

-- name: bury
-- Ends a chunk that cannot be scored, under its lease.
UPDATE chunk SET state = 'dead', body = NULL, done_at = now(), lease_owner = NULL, lease_until = NULL, last_error = %(reason)s
WHERE id = %(id)s AND fence = %(fence)s AND state = 'read' AND lease_owner IS NOT NULL

-- name: empty
-- Ends a chunk whose rows went on in two smaller ones, under its lease.
UPDATE chunk SET state = 'done', body = NULL, rows = 0, done_at = now(), lease_owner = NULL, lease_until = NULL,
    last_error = 'split in two to find the row that ends its worker'
WHERE id = %(id)s AND fence = %(fence)s AND state = 'read' AND lease_owner IS NOT NULL

-- name: settle
-- Counts the outcome of one of the chunk's effects; the last one ends it.
UPDATE chunk SET open_effects = open_effects - 1, written = written + %(written)s, refused = refused + %(refused)s,
    left_alone = left_alone + %(left_alone)s, state = CASE WHEN open_effects = 1 THEN 'done' ELSE state END,
    done_at = CASE WHEN open_effects = 1 THEN now() END
WHERE id = %(id)s AND state = 'scored' AND open_effects > 0
RETURNING run_id, state

-- name: reopen
-- Opens a chunk again because a person replays one of its effects, whose outcome no longer counts.
UPDATE chunk SET open_effects = open_effects + 1, state = 'scored', done_at = NULL, written = written - %(written)s,
    refused = refused - %(refused)s, left_alone = left_alone - %(left_alone)s
WHERE id = %(id)s AND state IN ('scored', 'done')

-- name: events
-- The events of a chunk, in the order of their arrival.
SELECT id, event_id, body FROM inbox WHERE chunk_id = %(id)s ORDER BY id

-- name: move_events
-- Hands events over to another chunk.
UPDATE inbox SET chunk_id = %(to)s WHERE id = ANY(%(ids)s) AND tenant_id = %(tenant)s

-- name: decided_before
-- Whether an earlier decision may concern the same keys: any of another run, or, where all is scored anew, a newer one.
SELECT f.pruned OR CASE WHEN %(rescore)s THEN EXISTS (
    SELECT 1 FROM chunk WHERE tenant_id = %(tenant)s AND flow_id = f.id AND scored_at IS NOT NULL AND seq >= %(seq)s AND id <> %(chunk)s
        AND (run_id <> %(run)s OR NOT %(disjoint)s))
ELSE EXISTS (
    SELECT 1 FROM run o WHERE o.tenant_id = %(tenant)s AND o.flow_id = f.id AND (o.id <> %(run)s OR NOT %(disjoint)s)
        AND EXISTS (SELECT 1 FROM chunk c WHERE c.tenant_id = %(tenant)s AND c.run_id = o.id AND c.scored_at IS NOT NULL))
END AS yes
FROM flow f WHERE f.id = %(flow)s

-- name: rivals
-- Chunks of the flow that may concern the same keys: newer ones, older ones with an open write, lately written ones.
-- An undo stands for the chunk whose writes it takes back; what it expects to find was settled when it was frozen.
SELECT f.pruned OR EXISTS (
        SELECT 1 FROM chunk o WHERE o.tenant_id = %(tenant)s AND o.flow_id = c.flow_id AND o.scored_at IS NOT NULL AND o.seq >= c.seq
            AND (o.seq, o.id) > (c.seq, c.id) AND (o.run_id <> c.run_id OR NOT r.disjoint)) AS newer,
    ARRAY(SELECT DISTINCT coalesce(o.undo_of, e.chunk_id) FROM effect e JOIN chunk o ON o.id = e.chunk_id
        WHERE e.tenant_id = %(tenant)s AND e.flow_id = c.flow_id AND e.write_name = %(write)s
            AND (e.lease_owner IS NOT NULL OR e.state = 'submitted') AND e.state IN ('intended', 'submitted')
            AND (o.seq, o.id) < (c.seq, c.id) AND (o.run_id <> c.run_id OR NOT r.disjoint)) AS open,
    ARRAY(SELECT coalesce(o.undo_of, o.id) FROM chunk o WHERE o.tenant_id = %(tenant)s AND o.flow_id = c.flow_id AND o.state IN ('done', 'dead')
        AND c.undo_of IS NULL
        AND (o.seq, o.id) < (c.seq, c.id) AND (o.run_id <> c.run_id OR NOT r.disjoint)
        AND o.done_at >= CASE WHEN r.kind = 'events' THEN c.scored_at - interval '5 seconds' ELSE c.received_at END
        LIMIT 1000) AS late
FROM chunk c JOIN run r ON r.id = c.run_id JOIN flow f ON f.id = c.flow_id WHERE c.id = %(chunk)s

-- name: listing
-- Chunks of a run, in order.
SELECT c.id, c.run_id, f.name AS flow, c.state, c.rows, c.scored, c.held, c.skipped, c.written, c.refused, c.left_alone, c.attempts,
    c.open_effects, c.lease_owner, c.due_at, c.received_at, c.scored_at, c.done_at, c.last_error, c.replay_of
FROM chunk c JOIN flow f ON f.id = c.flow_id
WHERE c.tenant_id = %(tenant)s AND (%(run)s::bigint IS NULL OR c.run_id = %(run)s) AND c.id > %(after)s
ORDER BY c.id LIMIT %(limit)s

-- name: edited
-- The chunk of a number that orders decisions, where a person has edited its record: else it is that of a first time.
SELECT id FROM chunk WHERE id = %(id)s AND tenant_id = %(tenant)s AND replay_of IS NOT NULL

-- name: next
-- The id of a chunk that is scored before it is stored, and the decision's clock.
SELECT nextval(pg_get_serial_sequence('chunk', 'id')) AS id, now() AS clock

-- name: add_claimed
-- A chunk that is scored in the transaction that stores it.
INSERT INTO chunk (id, tenant_id, run_id, flow_id, release_id, seq, queue, rows, fence, lease_owner, lease_until, intake_from)
OVERRIDING SYSTEM VALUE
VALUES (%(id)s, %(tenant)s, %(run)s, %(flow)s, %(release)s, %(id)s, %(queue)s, %(rows)s, 1, %(owner)s, now() + interval '1 minute',
    %(intake_from)s)
