-- name: lock
-- Lets one process at a time make the tenant's key of the log; what the one before has made is seen by the next statement only.
SELECT id FROM tenant WHERE id = %(tenant)s FOR NO KEY UPDATE

-- name: key
-- The key that signs the log's checkpoints.
SELECT name, public_key, sealed FROM log_key WHERE tenant_id = %(tenant)s ORDER BY created_at DESC LIMIT 1

-- name: add_key
-- A new key of the log.
INSERT INTO log_key (tenant_id, name, public_key, sealed) VALUES (%(tenant)s, %(name)s, %(public)s, %(sealed)s)

-- name: lead
-- Whether no other process adds to the log until this transaction ends.
SELECT pg_try_advisory_xact_lock(7301003, %(tenant)s) AS leads

-- name: wait_to_lead
-- Waits until no other process adds to the log.
SELECT true AS leads FROM (SELECT pg_advisory_xact_lock(7301003, %(tenant)s)) waited

-- name: take
-- Takes what was committed and is not in the log yet, whatever its ids: those are drawn in another order than they are committed.
DELETE FROM audit_outbox WHERE id IN (
    SELECT id FROM audit_outbox WHERE tenant_id = %(tenant)s ORDER BY id LIMIT %(limit)s
)
RETURNING id, event, actor, at, detail

-- name: take_one
-- Takes an event that this transaction has recorded.
DELETE FROM audit_outbox WHERE id = %(event)s RETURNING id, event, actor, at, detail

-- name: add_entry
-- An entry at its place.
INSERT INTO log_entry (tenant_id, position, id, event, actor, at, leaf)
VALUES (%(tenant)s, %(position)s, %(id)s, %(event)s, %(actor)s, %(at)s, %(leaf)s)

-- name: put_tile
-- A tile as it is now.
INSERT INTO log_tile (tenant_id, level, number, hashes) VALUES (%(tenant)s, %(level)s, %(number)s, %(hashes)s)
ON CONFLICT (tenant_id, level, number) DO UPDATE SET hashes = excluded.hashes

-- name: add_checkpoint
-- What the log says of itself at a size.
INSERT INTO log_checkpoint (tenant_id, size, note) VALUES (%(tenant)s, %(size)s, %(note)s)

-- name: newest
-- The newest checkpoint.
SELECT size, note, at FROM log_checkpoint WHERE tenant_id = %(tenant)s ORDER BY size DESC LIMIT 1

-- name: checkpoints
-- Checkpoints, newest first.
SELECT size, note, at FROM log_checkpoint WHERE tenant_id = %(tenant)s AND (%(before)s::bigint IS NULL OR size < %(before)s)
ORDER BY size DESC LIMIT %(limit)s

-- name: tile
-- The hashes of a tile.
SELECT hashes FROM log_tile WHERE tenant_id = %(tenant)s AND level = %(level)s AND number = %(number)s

-- name: entries
-- Entries from a place on, in order.
SELECT position, leaf FROM log_entry WHERE tenant_id = %(tenant)s AND position >= %(start)s AND position < %(end)s
ORDER BY position LIMIT %(limit)s

-- name: entry_of
-- The entry of an event.
SELECT position, leaf FROM log_entry WHERE tenant_id = %(tenant)s AND id = %(event)s

-- name: waiting
-- How many events wait for the log, and how long the first one has.
SELECT count(*) AS n, coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float AS oldest_s
FROM audit_outbox WHERE tenant_id = %(tenant)s

-- name: count_intake
-- How many records each flow has taken in.
SELECT f.name AS flow, i.received FROM intake i JOIN flow f ON f.id = i.flow_id WHERE i.tenant_id = %(tenant)s ORDER BY f.name
