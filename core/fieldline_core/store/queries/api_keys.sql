-- name: add
-- A new API key, by the digest of its secret.
INSERT INTO api_key (tenant_id, id, digest, label, scopes, created_by, expires_at)
VALUES (%(tenant)s, %(id)s, %(digest)s, %(label)s, %(scopes)s, %(by)s,
    CASE WHEN %(days)s::int IS NOT NULL THEN now() + make_interval(days => %(days)s::int) END)
RETURNING id, label, scopes, created_by, created_at, expires_at, revoked_at, last_used_at

-- name: live
-- A key that is neither revoked nor expired.
SELECT id, digest, scopes FROM api_key
WHERE tenant_id = %(tenant)s AND id = %(id)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- name: used
-- Notes that a key was used, at most once a minute.
UPDATE api_key SET last_used_at = now()
WHERE tenant_id = %(tenant)s AND id = %(id)s AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')

-- name: listing
-- All keys without their digests, newest first.
SELECT id, label, scopes, created_by, created_at, expires_at, revoked_at, last_used_at FROM api_key
WHERE tenant_id = %(tenant)s ORDER BY created_at DESC, id

-- name: revoke
-- Ends a key for good; no row where there is no such key in force.
UPDATE api_key SET revoked_at = now() WHERE tenant_id = %(tenant)s AND id = %(id)s AND revoked_at IS NULL

-- name: any
-- A row where a key was ever made.
SELECT 1 FROM api_key WHERE tenant_id = %(tenant)s LIMIT 1
