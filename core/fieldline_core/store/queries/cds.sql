-- name: use_token
-- Notes that a token was used; no row where it had been before. Some of those that are refused for their age go.
WITH gone AS (
    DELETE FROM cds_token WHERE (tenant_id, digest) IN (
        SELECT t.tenant_id, t.digest FROM cds_token t WHERE t.tenant_id = %(tenant)s AND t.ends_at < now()
        ORDER BY t.ends_at LIMIT 10 FOR UPDATE SKIP LOCKED)
)
INSERT INTO cds_token (tenant_id, digest, ends_at) VALUES (%(tenant)s, %(digest)s, %(ends_at)s)
ON CONFLICT (tenant_id, digest) DO NOTHING
RETURNING 1 AS used

-- name: services
-- The releases of the flows that answer CDS Hooks.
SELECT f.name, r.id AS release_id FROM flow f JOIN release r ON r.id = f.release_id
WHERE f.tenant_id = %(tenant)s AND jsonb_typeof(r.body -> 'flow' -> 'trigger' -> 'cds') = 'object'
ORDER BY f.name LIMIT 200
