-- name: add
-- An audit event, in the transaction that does the thing.
INSERT INTO audit_outbox (tenant_id, event, actor, detail) VALUES (%(tenant)s, %(event)s, %(actor)s, %(detail)s)
RETURNING id

-- name: listing
-- Audit events, newest first; those in the log with their place in it.
(SELECT id, event, actor, at, detail, NULL::bigint AS position FROM audit_outbox
    WHERE tenant_id = %(tenant)s AND (%(event)s::text IS NULL OR event = %(event)s) AND (%(before)s::bigint IS NULL OR id < %(before)s)
    ORDER BY id DESC LIMIT %(limit)s)
UNION ALL
(SELECT id, event, actor, at, leaf::jsonb -> 'detail', position FROM log_entry
    WHERE tenant_id = %(tenant)s AND (%(event)s::text IS NULL OR event = %(event)s) AND (%(before)s::bigint IS NULL OR id < %(before)s)
    ORDER BY id DESC LIMIT %(limit)s)
ORDER BY id DESC LIMIT %(limit)s
