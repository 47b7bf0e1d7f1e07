-- name: lock
-- Lets one process at a time make the tenant's key of the log; what the one before has made is seen by the next statement only.
SELECT id FROM tenant WHERE id = %(tenant)s FOR NO KEY UPDATE

-- name: keys
-- The keys that have signed the log's checkpoints, the one in force first, then those that it took the place of.
SELECT name, public_key FROM log_key WHERE tenant_id = %(tenant)s ORDER BY created_at DESC, public_key

-- name: key
-- The public key in force.
SELECT name, public_key FROM log_key WHERE tenant_id = %(tenant)s ORDER BY created_at DESC, public_key LIMIT 1

-- name: signing_keys
-- The key that signs the log's checkpoints, and behind it those that still do beside it.
SELECT name, public_key, sealed FROM log_key WHERE tenant_id = %(tenant)s AND (also_until IS NULL OR also_until > now())
ORDER BY created_at DESC, public_key

-- name: add_key
-- A new key of the log, in force from now on.
INSERT INTO log_key (tenant_id, name, public_key, sealed, created_at)
VALUES (%(tenant)s, %(name)s, %(public)s, %(sealed)s, clock_timestamp())

-- name: replace_keys
-- Keys in whose place another one comes; they sign beside it for some days.
UPDATE log_key SET also_until = now() + make_interval(days => %(days)s) WHERE tenant_id = %(tenant)s AND also_until IS NULL

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

-- name: add_entries
-- Entries at their places.
COPY log_entry (tenant_id, position, id, event, actor, at, leaf) FROM STDIN

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

-- name: key_changes
-- The entries that announced a new key of the log, each with the checkpoint that ends with it.
SELECT e.position, e.leaf, c.size, c.note FROM log_entry e
JOIN log_checkpoint c ON c.tenant_id = e.tenant_id AND c.size = e.position + 1
WHERE e.tenant_id = %(tenant)s AND e.event = 'log.key_changed' AND e.position < %(size)s ORDER BY e.position

-- name: keep_checkpoint
-- Somebody is given this checkpoint: it is never removed.
UPDATE log_checkpoint SET named = true WHERE tenant_id = %(tenant)s AND size = %(size)s AND NOT named
