-- name: add
-- An audit event, in the transaction that does the thing.
INSERT INTO audit_outbox (tenant_id, event, actor, detail) VALUES (%(tenant)s, %(event)s, %(actor)s, %(detail)s)
RETURNING id
