-- name: wanted
-- The published flows that listen to changes.
SELECT f.id AS flow_id, f.name, f.release_id
FROM flow f JOIN release r ON r.id = f.release_id
WHERE f.tenant_id = %(tenant)s AND jsonb_typeof(r.body->'flow'->'trigger'->'changes') = 'object'

-- name: begin
-- The place of a flow in its topic, made where there is none; another topic begins anew.
INSERT INTO feed (tenant_id, flow_id, topic) VALUES (%(tenant)s, %(flow)s, %(topic)s)
ON CONFLICT (tenant_id, flow_id) DO UPDATE SET
    cursor = CASE WHEN feed.topic = excluded.topic THEN feed.cursor END, topic = excluded.topic, version = feed.version + 1
RETURNING cursor, version

-- name: move
-- Moves the place on, for the listener that moved it last.
UPDATE feed SET cursor = %(cursor)s, version = version + 1, heard_at = now(), failing_since = NULL, last_error = NULL
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND version = %(version)s

-- name: fails
-- Notes since when a flow cannot listen, and why.
UPDATE feed SET failing_since = coalesce(failing_since, now()), last_error = %(reason)s
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s

-- name: failing
-- The flows that cannot listen to changes, and for how long.
SELECT f.name AS flow, d.last_error, extract(epoch FROM now() - d.failing_since) AS seconds
FROM feed d JOIN flow f ON f.id = d.flow_id
WHERE d.tenant_id = %(tenant)s AND d.failing_since IS NOT NULL ORDER BY f.name
