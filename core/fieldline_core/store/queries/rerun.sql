-- name: of_chunk
-- The evidence of a chunk's decisions.
SELECT e.kind, e.body, k.wrapped FROM evidence e LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE e.chunk_id = %(chunk)s AND e.kind = 'decisions' AND e.tenant_id = %(tenant)s

-- name: of_flow
-- The evidence of a flow's decisions before some evidence, newest first.
SELECT e.id, e.kind, e.body, k.wrapped, e.created_at FROM release r CROSS JOIN LATERAL (
    SELECT id, kind, body, created_at FROM evidence b
    WHERE b.tenant_id = r.tenant_id AND b.kind = 'decisions' AND b.release_id = r.id
        AND (b.created_at, b.id) < (%(at)s::timestamptz, %(before)s::bigint)
    ORDER BY b.created_at DESC, b.id DESC LIMIT %(limit)s
) e LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE r.tenant_id = %(tenant)s AND r.flow_id = %(flow)s
ORDER BY e.created_at DESC, e.id DESC LIMIT %(limit)s

-- name: release
-- The release of a digest.
SELECT id FROM release WHERE tenant_id = %(tenant)s AND digest = %(digest)s
