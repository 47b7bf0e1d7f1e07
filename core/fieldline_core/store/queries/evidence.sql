-- name: add
-- The sealed evidence of a batch.
INSERT INTO evidence (tenant_id, kind, chunk_id, effect_id, rows, body)
VALUES (%(tenant)s, %(kind)s, %(chunk)s, %(effect)s, %(rows)s, %(body)s) RETURNING id

-- name: find
-- Where the decisions on a key are, newest first.
SELECT d.chunk_id, d.row_no, d.seq, f.name AS flow, r.digest AS release
FROM decision d JOIN flow f ON f.id = d.flow_id JOIN release r ON r.id = d.release_id
WHERE d.key_hash = %(key_hash)s AND d.tenant_id = %(tenant)s
ORDER BY d.chunk_id DESC LIMIT %(limit)s

-- name: of_chunk
-- All evidence of a chunk.
SELECT id, kind, effect_id, rows, body, created_at FROM evidence WHERE chunk_id = %(chunk)s AND tenant_id = %(tenant)s ORDER BY id

-- name: needless
-- Positions (from 1) of the rows whose last decision rests on equal values and the same release, or is newer than this one.
SELECT w.position::int AS position
FROM unnest(%(hashes)s::text::uuid[], %(digests)s::text::bigint[]) WITH ORDINALITY AS w (key_hash, digest, position)
CROSS JOIN LATERAL (
    SELECT d.seq, d.chunk_id, d.source_digest, d.release_id FROM decision d
    WHERE d.key_hash = w.key_hash AND d.flow_id = %(flow)s AND d.tenant_id = %(tenant)s
    ORDER BY d.seq DESC, d.chunk_id DESC LIMIT 1
) last
WHERE (last.seq, last.chunk_id) > (%(seq)s::bigint, %(chunk)s::bigint)
    OR (NOT %(rescore)s AND last.source_digest = w.digest AND last.release_id = %(release)s)

-- name: of_flow
-- The evidence of a flow's decisions before a chunk, newest first.
SELECT c.id AS chunk_id, e.body FROM chunk c JOIN evidence e ON e.chunk_id = c.id AND e.kind = 'decisions'
WHERE c.tenant_id = %(tenant)s AND c.flow_id = %(flow)s AND c.id < %(before)s ORDER BY c.id DESC LIMIT %(limit)s
