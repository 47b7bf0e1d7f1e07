-- name: add
-- An audit event, in the transaction that does the thing.
INSERT INTO audit_outbox (tenant_id, event, actor, detail) VALUES (%(tenant)s, %(event)s, %(actor)s, %(detail)s)

-- name: listing
-- Audit events, newest first.
SELECT id, event, actor, at, detail FROM audit_outbox
WHERE tenant_id = %(tenant)s AND (%(event)s::text IS NULL OR event = %(event)s) AND (%(before)s::bigint IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
