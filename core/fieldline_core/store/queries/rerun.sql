-- name: of_chunk
-- The evidence of a chunk's decisions.
SELECT e.kind, e.body, k.wrapped FROM evidence e LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE e.chunk_id = %(chunk)s AND e.kind = 'decisions' AND e.tenant_id = %(tenant)s

-- name: of_flow
-- The evidence of a flow's decisions before some evidence, newest first; by its event, for its chunk may be gone.
SELECT e.id, e.kind, e.body, k.wrapped FROM evidence e LEFT JOIN batch_key k ON k.evidence_id = e.id
LEFT JOIN audit_outbox o ON o.id = e.event_id LEFT JOIN log_entry l ON l.tenant_id = e.tenant_id AND l.id = e.event_id
WHERE e.tenant_id = %(tenant)s AND e.kind = 'decisions' AND e.id < %(before)s
    AND coalesce(o.detail, l.leaf::jsonb -> 'detail') ->> 'flow' = %(flow)s
ORDER BY e.id DESC LIMIT %(limit)s

-- name: release
-- The release of a digest.
SELECT id FROM release WHERE tenant_id = %(tenant)s AND digest = %(digest)s
