-- name: add
-- Stores an event once; no row where it is there already.
INSERT INTO inbox (tenant_id, flow_id, release_id, sender, event_id, body, body_hash, key_hash)
SELECT %(tenant)s, f.id, f.release_id, %(sender)s, %(event_id)s, %(body)s, %(body_hash)s, %(key_hash)s
FROM flow f WHERE f.id = %(flow)s AND f.release_id IS NOT NULL
ON CONFLICT (tenant_id, sender, event_id) DO NOTHING
RETURNING id

-- name: seen
-- The event of that sender that came before.
SELECT id, body_hash FROM inbox WHERE tenant_id = %(tenant)s AND sender = %(sender)s AND event_id = %(event_id)s

-- name: waiting
-- How many events wait, up to a bound.
SELECT count(*) AS waiting FROM (SELECT 1 FROM inbox WHERE tenant_id = %(tenant)s AND chunk_id IS NULL LIMIT %(bound)s) w

-- name: flows_waiting
-- Releases with waiting events, and how many of their chunks are not scored; records that wait to be read again hold up no event.
SELECT DISTINCT i.flow_id, i.release_id, r.body->'models'->0->>'device' AS device,
    (SELECT count(*) FROM chunk c JOIN run n ON n.id = c.run_id WHERE c.flow_id = i.flow_id AND c.state = 'read' AND n.kind = 'events'
        AND c.replay_of IS NULL) AS open_chunks
FROM (SELECT DISTINCT flow_id, release_id FROM inbox WHERE tenant_id = %(tenant)s AND chunk_id IS NULL) i
JOIN release r ON r.id = i.release_id JOIN flow f ON f.id = i.flow_id AND f.paused_at IS NULL

-- name: take
-- The oldest waiting events of a release, locked.
SELECT id FROM inbox
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND release_id = %(release)s AND chunk_id IS NULL
ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
