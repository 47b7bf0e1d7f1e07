-- name: add
-- The sealed evidence of a batch, and its key.
WITH added AS (
    INSERT INTO evidence (tenant_id, kind, event_id, chunk_id, effect_id, release_id, rows, zone, body)
    VALUES (%(tenant)s, %(kind)s, %(event)s, %(chunk)s, %(effect)s, %(release)s, %(rows)s, %(zone)s, %(body)s) RETURNING id
)
INSERT INTO batch_key (tenant_id, evidence_id, wrapped) SELECT %(tenant)s, id, %(wrapped)s FROM added

-- name: find
-- Where the decisions on a key are, newest first.
SELECT d.chunk_id, d.row_no, d.seq, f.name AS flow, r.digest AS release
FROM decision d JOIN flow f ON f.id = d.flow_id JOIN release r ON r.id = d.release_id
WHERE d.key_hash = %(key_hash)s AND d.tenant_id = %(tenant)s
ORDER BY d.chunk_id DESC LIMIT %(limit)s

-- name: of_chunk
-- All evidence of a chunk.
SELECT e.id, e.kind, e.event_id, e.effect_id, e.rows, e.body, e.created_at, k.wrapped FROM evidence e
LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE e.chunk_id = %(chunk)s AND e.tenant_id = %(tenant)s ORDER BY e.id

-- name: of_event
-- The evidence of an event's batch.
SELECT e.kind, e.body, k.wrapped FROM evidence e LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE e.event_id = %(event)s AND e.tenant_id = %(tenant)s

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

-- name: standing
-- Positions (from 1) of the rows whose last decision for a write step is this chunk's, and the digest that it has.
SELECT w.position::int AS position, last.source_digest
FROM unnest(%(hashes)s::text::uuid[]) WITH ORDINALITY AS w (key_hash, position)
CROSS JOIN LATERAL (
    SELECT d.chunk_id, d.source_digest FROM decision d
    WHERE d.key_hash = w.key_hash AND d.flow_id = %(flow)s AND d.tenant_id = %(tenant)s AND NOT EXISTS (
        SELECT 1 FROM chunk c WHERE c.id = d.chunk_id AND c.only_write IS NOT NULL AND c.only_write <> %(write)s::text)
    ORDER BY d.seq DESC, d.chunk_id DESC LIMIT 1
) last
WHERE last.chunk_id = %(chunk)s

-- name: of_flow
-- The evidence of a flow's decisions before a chunk, newest first.
SELECT c.id AS chunk_id, e.kind, e.body, k.wrapped FROM chunk c
JOIN evidence e ON e.chunk_id = c.id AND e.kind = 'decisions' LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE c.tenant_id = %(tenant)s AND c.flow_id = %(flow)s AND c.id < %(before)s ORDER BY c.id DESC LIMIT %(limit)s

-- name: put_back
-- Evidence that was sealed anew under a new key, in the place of the old one and its key.
WITH changed AS (
    UPDATE evidence SET zone = %(zone)s, body = %(body)s WHERE id = %(id)s AND tenant_id = %(tenant)s RETURNING id
)
UPDATE batch_key SET wrapped = %(wrapped)s FROM changed WHERE evidence_id = changed.id
