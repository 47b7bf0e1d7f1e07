-- name: flow_of
-- The flow of a release (by the beginning of its digest) or of a run; two rows where the beginning fits several releases.
SELECT DISTINCT f.id, f.name, f.paused_at IS NOT NULL AS paused, f.release_id AS current, e.digest AS release
FROM release e JOIN flow f ON f.id = e.flow_id LEFT JOIN run r ON r.id = %(run)s::bigint AND r.release_id = e.id
WHERE e.tenant_id = %(tenant)s AND (r.id IS NOT NULL OR (%(release)s::text IS NOT NULL AND starts_with(e.digest, %(release)s::text)))
LIMIT 2

-- name: chunks
-- Chunks with decisions that are to be undone, the newest decisions first.
SELECT c.id, c.seq, c.release_id, c.rows FROM chunk c JOIN release e ON e.id = c.release_id
WHERE c.tenant_id = %(tenant)s AND c.flow_id = %(flow)s AND c.scored_at IS NOT NULL AND c.scored > 0
    AND (%(release)s::text IS NULL OR e.digest = %(release)s) AND (%(run)s::bigint IS NULL OR c.run_id = %(run)s)
    AND (%(since)s::timestamptz IS NULL OR c.scored_at >= %(since)s)
    AND (%(key_hash)s::uuid IS NULL OR EXISTS (SELECT 1 FROM decision d WHERE d.key_hash = %(key_hash)s AND d.chunk_id = c.id))
ORDER BY c.seq DESC, c.id DESC LIMIT %(limit)s

-- name: decided
-- The chunks that decided on some keys (positions from 1) for a write step, the newest first; replays of other steps left out.
SELECT w.position::int AS position, d.chunk_id
FROM unnest(%(hashes)s::text::uuid[]) WITH ORDINALITY AS w (key_hash, position)
CROSS JOIN LATERAL (
    SELECT o.seq, o.chunk_id FROM decision o
    WHERE o.key_hash = w.key_hash AND o.flow_id = %(flow)s AND o.tenant_id = %(tenant)s AND NOT EXISTS (
        SELECT 1 FROM chunk c WHERE c.id = o.chunk_id AND c.only_write IS NOT NULL AND c.only_write <> %(write)s)
    ORDER BY o.seq DESC, o.chunk_id DESC LIMIT %(limit)s
) d
ORDER BY w.position, d.seq DESC, d.chunk_id DESC

-- name: still_open
-- How many rows of a chunk's write step are still to be written.
SELECT coalesce(sum(rows), 0)::int AS rows FROM effect
WHERE tenant_id = %(tenant)s AND chunk_id = %(chunk)s AND write_name = %(write)s AND state IN ('intended', 'submitted')

-- name: last_of_flow
-- The last undo of a flow, and whether it is still going on.
SELECT id, state IN ('queued', 'running') AS going_on FROM run
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND kind = 'undo' ORDER BY id DESC LIMIT 1

-- name: lock_flow
-- Lets one undo of a flow be frozen at a time; what the one before has stored is seen by the next statement only.
SELECT id FROM flow WHERE id = %(flow)s AND tenant_id = %(tenant)s FOR NO KEY UPDATE

-- name: add_chunk
-- A chunk of an undo, whose slices are frozen; it has the place of the decisions whose writes it takes back.
INSERT INTO chunk (id, tenant_id, run_id, flow_id, release_id, seq, state, queue, rows, scored, open_effects, undo_of)
OVERRIDING SYSTEM VALUE
VALUES (%(id)s, %(tenant)s, %(run)s, %(flow)s, %(release)s, %(seq)s, 'scored', 'write', %(rows)s, %(rows)s, %(effects)s, %(undo_of)s)

-- name: release_of
-- The release that a chunk was decided by.
SELECT release_id FROM chunk WHERE tenant_id = %(tenant)s AND id = %(chunk)s
