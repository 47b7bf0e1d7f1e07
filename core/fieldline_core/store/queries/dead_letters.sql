-- name: add
-- One row that was set aside.
INSERT INTO dead_letter (tenant_id, flow_id, release_id, run_id, chunk_id, effect_id, write_name, stage, reason, key_hash, seq,
    body)
VALUES (%(tenant)s, %(flow)s, %(release)s, %(run)s, %(chunk)s, %(effect)s, %(write)s, %(stage)s, %(reason)s, %(key_hash)s, %(seq)s,
    %(body)s)

-- name: listing
-- Dead letters, newest first.
SELECT l.id, f.name AS flow, l.run_id, l.chunk_id, l.effect_id, l.stage, l.state, l.reason, l.created_at, l.ended_at, l.ended_by, l.ended_why,
    l.replay_run
FROM dead_letter l JOIN flow f ON f.id = l.flow_id
WHERE l.tenant_id = %(tenant)s AND (%(flow)s::text IS NULL OR f.name = %(flow)s) AND (%(state)s::text IS NULL OR l.state = %(state)s)
    AND (%(run)s::bigint IS NULL OR l.run_id = %(run)s) AND (%(before)s::bigint IS NULL OR l.id < %(before)s)
ORDER BY l.id DESC LIMIT %(limit)s

-- name: causes
-- Open dead letters, grouped by cause.
SELECT f.name AS flow, l.stage, l.reason, count(*) AS count, min(l.created_at) AS first_at, max(l.created_at) AS last_at, min(l.id) AS example
FROM dead_letter l JOIN flow f ON f.id = l.flow_id
WHERE l.tenant_id = %(tenant)s AND l.state = 'open' AND (%(flow)s::text IS NULL OR f.name = %(flow)s)
GROUP BY 1, 2, 3 ORDER BY count DESC LIMIT %(limit)s

-- name: show
-- One dead letter with its sealed row.
SELECT l.*, f.name AS flow, e.state AS effect_state FROM dead_letter l JOIN flow f ON f.id = l.flow_id LEFT JOIN effect e ON e.id = l.effect_id
WHERE l.tenant_id = %(tenant)s AND l.id = %(id)s

-- name: lock
-- Open dead letters of one flow that are to be replayed or discarded, locked.
SELECT l.id, l.flow_id, l.effect_id, l.chunk_id, l.write_name, l.stage, l.seq, l.body, e.state AS effect_state
FROM dead_letter l LEFT JOIN effect e ON e.id = l.effect_id JOIN flow f ON f.id = l.flow_id
WHERE l.tenant_id = %(tenant)s AND l.state = 'open' AND (%(ids)s::bigint[] IS NULL OR l.id = ANY(%(ids)s))
    AND f.name = %(flow)s AND (%(reason)s::text IS NULL OR l.reason = %(reason)s)
ORDER BY l.chunk_id, l.stage, l.write_name, l.id LIMIT %(limit)s FOR UPDATE OF l

-- name: beside
-- Other open dead letters of the same effects.
SELECT id FROM dead_letter
WHERE tenant_id = %(tenant)s AND effect_id = ANY(%(effects)s) AND state = 'open' AND NOT id = ANY(%(ids)s)
ORDER BY id LIMIT 11

-- name: end
-- Marks dead letters as replayed or discarded.
UPDATE dead_letter SET state = %(state)s, ended_at = now(), ended_by = %(by)s, ended_why = %(why)s, replay_run = %(replay_run)s
WHERE id = ANY(%(ids)s) AND tenant_id = %(tenant)s AND state = 'open'

-- name: end_effect
-- Marks all open dead letters of an effect as replayed.
UPDATE dead_letter SET state = 'replayed', ended_at = now(), ended_by = %(by)s, ended_why = %(why)s
WHERE effect_id = %(effect)s AND tenant_id = %(tenant)s AND state = 'open'
RETURNING id
