-- name: lock
-- Lets one first start at a time look for keys and make them; what the one before has made is seen by the next statement only.
SELECT id FROM tenant WHERE id = %(tenant)s FOR NO KEY UPDATE

-- name: list
-- All data keys of the tenant.
SELECT id, purpose, wrapped, provider FROM data_key WHERE tenant_id = %(tenant)s ORDER BY id

-- name: add
-- A new data key.
INSERT INTO data_key (tenant_id, id, purpose, wrapped, provider) VALUES (%(tenant)s, %(id)s, %(purpose)s, %(wrapped)s, %(provider)s)

-- name: secret
-- The sealed value of a named secret.
SELECT body FROM secret WHERE tenant_id = %(tenant)s AND name = %(name)s

-- name: put_secret
-- Sets a named secret.
INSERT INTO secret (tenant_id, name, body) VALUES (%(tenant)s, %(name)s, %(body)s)
ON CONFLICT (tenant_id, name) DO UPDATE SET body = excluded.body, created_at = now()

-- name: lock_shared
-- Lets one process at a time change a value that a connection's processes share, until its transaction ends; waits so long at most.
WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', %(longest_ms)s::int::text, true))
SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, %(tenant)s)) FROM patience
