-- name: wanted
-- The published flows that listen to changes, and, without a release, those that listen no more and have a place still.
SELECT f.id AS flow_id, CASE WHEN l.listens THEN f.release_id END AS release_id
FROM flow f JOIN release r ON r.id = f.release_id
CROSS JOIN LATERAL (SELECT coalesce(jsonb_typeof(r.body->'flow'->'trigger'->'changes') = 'object', false) AS listens) l
WHERE f.tenant_id = %(tenant)s AND (l.listens
    OR EXISTS (SELECT 1 FROM feed d WHERE d.tenant_id = f.tenant_id AND d.flow_id = f.id AND d.topic <> ''))

-- name: place
-- The place of a flow, and what it belongs to; that of a subscription that was taken away belongs to nothing.
SELECT d.flow_id, d.topic, d.cursor, d.version, f.name AS flow FROM feed d JOIN flow f ON f.id = d.flow_id
WHERE d.tenant_id = %(tenant)s AND d.flow_id = %(flow)s AND d.topic <> ''

-- name: topics
-- What a flow has listened to, each with the newest release that did.
SELECT max(id) AS release_id, body->'flow'->'source'->>'connection' AS connection, body->'flow'->'trigger'->'changes' AS topic
FROM release
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND jsonb_typeof(body->'flow'->'trigger'->'changes') = 'object'
GROUP BY 2, 3

-- name: leave
-- Forgets a place whose subscription is no more, but not what was missed, where nobody has moved it meanwhile.
UPDATE feed SET topic = %(topic)s, cursor = %(cursor)s, told = NULL, version = version + 1, failing_since = NULL,
    last_error = NULL
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND version = %(version)s

-- name: turn
-- Keeps a place for another topic of the same system, whose subscription goes on, where nobody has moved it meanwhile.
UPDATE feed SET topic = %(topic)s, version = version + 1
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND version = %(version)s

-- name: begin
-- The place of a flow in its topic, made where there is none; another topic begins anew.
INSERT INTO feed (tenant_id, flow_id, topic) VALUES (%(tenant)s, %(flow)s, %(topic)s)
ON CONFLICT (tenant_id, flow_id) DO UPDATE SET
    cursor = CASE WHEN feed.topic = excluded.topic THEN feed.cursor END,
    told = CASE WHEN feed.topic = excluded.topic THEN feed.told END, topic = excluded.topic, version = feed.version + 1
RETURNING cursor, version

-- name: move
-- Moves the place on, for the listener that moved it last.
UPDATE feed SET cursor = %(cursor)s, version = version + 1, heard_at = now(), failing_since = NULL, last_error = NULL
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND version = %(version)s

-- name: keep
-- Moves the place of a subscription on, for who moved it last, and notes why it tells nothing, where it does not.
UPDATE feed SET cursor = %(cursor)s, version = version + 1, last_error = nullif(%(problem)s::text, ''),
    failing_since = CASE WHEN %(problem)s::text <> '' THEN coalesce(failing_since, now()) END
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND version = %(version)s

-- name: hear
-- What messages of the topic have said last; until this transaction ends no other message is heard.
INSERT INTO feed (tenant_id, flow_id, topic) VALUES (%(tenant)s, %(flow)s, %(topic)s)
ON CONFLICT (tenant_id, flow_id) DO UPDATE SET heard_at = now()
RETURNING CASE WHEN topic = %(topic)s THEN told END AS told

-- name: told
-- Notes what messages have said last.
UPDATE feed SET told = %(told)s WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND topic = %(topic)s

-- name: miss
-- Notes that a run is still to read what was missed.
UPDATE feed SET missed_at = coalesce(missed_at, now()) WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s

-- name: missed
-- The flows of which a run is to read what was missed, and none goes on; one that is paused is not read.
SELECT d.flow_id, f.release_id
FROM feed d JOIN flow f ON f.id = d.flow_id
WHERE d.tenant_id = %(tenant)s AND d.missed_at IS NOT NULL AND f.release_id IS NOT NULL AND f.paused_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM run r WHERE r.tenant_id = d.tenant_id AND r.flow_id = d.flow_id AND r.kind = 'batch' AND r.state IN ('queued', 'running'))
ORDER BY d.flow_id

-- name: lock_missed
-- The place of a flow that is still of this release and of which something was missed, locked.
SELECT d.flow_id FROM feed d JOIN flow f ON f.id = d.flow_id
WHERE d.tenant_id = %(tenant)s AND d.flow_id = %(flow)s AND d.missed_at IS NOT NULL AND f.release_id = %(release)s FOR UPDATE OF d

-- name: caught_up
-- Forgets what was missed, because a run reads it.
UPDATE feed SET missed_at = NULL WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s

-- name: fails
-- Notes since when a flow cannot listen, and why.
UPDATE feed SET failing_since = coalesce(failing_since, now()), last_error = %(reason)s
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s

-- name: failing
-- The flows that cannot listen to changes, and for how long.
SELECT f.name AS flow, d.last_error, extract(epoch FROM now() - d.failing_since) AS seconds
FROM feed d JOIN flow f ON f.id = d.flow_id
WHERE d.tenant_id = %(tenant)s AND d.failing_since IS NOT NULL ORDER BY f.name
