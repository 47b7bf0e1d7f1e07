-- name: lock
-- Lets one at a time erase a record or place or release its hold; what the one before has done is seen by the next statement only.
SELECT pg_advisory_xact_lock(hashtextextended(%(key_hash)s::text, 7301004))

-- name: hold
-- The hold on a record.
SELECT why, placed_by, placed_at FROM legal_hold WHERE tenant_id = %(tenant)s AND key_hash = %(key_hash)s

-- name: holds
-- All holds, the newest first; their keys are sealed.
SELECT key, why, placed_by, placed_at FROM legal_hold WHERE tenant_id = %(tenant)s ORDER BY placed_at DESC, key_hash

-- name: place_hold
-- Places a hold; no row where there is one.
INSERT INTO legal_hold (tenant_id, key_hash, key, why, placed_by) VALUES (%(tenant)s, %(key_hash)s, %(key)s, %(why)s, %(by)s)
ON CONFLICT (tenant_id, key_hash) DO NOTHING

-- name: release_hold
-- Ends a hold; no row where there is none.
DELETE FROM legal_hold WHERE tenant_id = %(tenant)s AND key_hash = %(key_hash)s

-- name: lock_letters
-- The record's dead letters, locked, so that nobody runs them again meanwhile.
SELECT f.name AS flow FROM dead_letter l JOIN flow f ON f.id = l.flow_id
WHERE l.tenant_id = %(tenant)s AND l.key_hash = %(key_hash)s ORDER BY l.id FOR UPDATE OF l

-- name: waiting_events
-- Events of the record that wait for their decision.
SELECT f.name AS flow, count(*) AS count FROM inbox i JOIN flow f ON f.id = i.flow_id LEFT JOIN chunk c ON c.id = i.chunk_id
WHERE i.tenant_id = %(tenant)s AND i.key_hash = %(key_hash)s AND i.body IS NOT NULL AND (i.chunk_id IS NULL OR c.state = 'read')
GROUP BY f.name ORDER BY f.name

-- name: next_waiting_chunk
-- The next chunk that waits with its records; the halves of one that is split come after it.
SELECT c.id, c.run_id, c.body, f.name AS flow FROM chunk c JOIN flow f ON f.id = c.flow_id
WHERE c.tenant_id = %(tenant)s AND c.state = 'read' AND c.body IS NOT NULL AND c.id > %(after)s ORDER BY c.id LIMIT 1

-- name: decided
-- The chunks in which the record was decided on, when, and the retention class of the flow: then, and now.
SELECT d.chunk_id, f.name AS flow, e.created_at, ARRAY(SELECT coalesce(r.body -> 'flow' -> 'retention' ->> 'class', 'standard')
    FROM release r WHERE r.id IN (d.release_id, f.release_id)) AS classes
FROM decision d JOIN flow f ON f.id = d.flow_id JOIN evidence e ON e.chunk_id = d.chunk_id AND e.kind = 'decisions'
WHERE d.tenant_id = %(tenant)s AND d.key_hash = %(key_hash)s ORDER BY d.chunk_id

-- name: lock_unknown_writes
-- Slices of these chunks, and of their undos, whose outcome is unknown, locked: their bodies stay until a person acts.
SELECT id FROM effect WHERE tenant_id = %(tenant)s AND state = 'unknown' AND body IS NOT NULL
    AND (chunk_id = ANY(%(chunks)s) OR chunk_id IN (SELECT c.id FROM chunk c WHERE c.undo_of = ANY(%(chunks)s)))
ORDER BY id FOR UPDATE

-- name: open_writes
-- Slices of these chunks, and of their undos, that are still to be written.
SELECT e.id, f.name AS flow FROM effect e JOIN flow f ON f.id = e.flow_id
WHERE e.tenant_id = %(tenant)s AND e.state IN ('intended', 'submitted')
    AND (e.chunk_id = ANY(%(chunks)s) OR e.chunk_id IN (SELECT c.id FROM chunk c WHERE c.undo_of = ANY(%(chunks)s)))
ORDER BY e.id

-- name: slice
-- The sealed rows of a slice.
SELECT body FROM effect WHERE tenant_id = %(tenant)s AND id = %(id)s

-- name: put_slice
-- Replaces the sealed rows of a slice.
UPDATE effect SET body = %(body)s WHERE tenant_id = %(tenant)s AND id = %(id)s

-- name: lock_batches
-- The evidence of these chunks, locked in one order, so that two erasures do not undo each other.
SELECT id FROM evidence WHERE tenant_id = %(tenant)s AND chunk_id = ANY(%(chunks)s) ORDER BY id FOR UPDATE

-- name: batch
-- Evidence with its key, and the root that its event recorded, wherever that is now.
SELECT e.kind, e.event_id, e.body, k.wrapped, coalesce(
    (SELECT o.detail -> 'batch' ->> 'root' FROM audit_outbox o WHERE o.tenant_id = e.tenant_id AND o.id = e.event_id),
    (SELECT l.leaf::jsonb -> 'detail' -> 'batch' ->> 'root' FROM log_entry l WHERE l.tenant_id = e.tenant_id AND l.id = e.event_id)
) AS root
FROM evidence e LEFT JOIN batch_key k ON k.evidence_id = e.id WHERE e.tenant_id = %(tenant)s AND e.id = %(id)s

-- name: forget_decisions
-- Forgets where the decisions on the record in these chunks are.
DELETE FROM decision WHERE tenant_id = %(tenant)s AND key_hash = %(key_hash)s AND chunk_id = ANY(%(chunks)s)

-- name: remove_letters
-- Removes the record's dead letters.
DELETE FROM dead_letter WHERE tenant_id = %(tenant)s AND key_hash = %(key_hash)s

-- name: ended_events
-- Events of the record that do not wait any more.
SELECT i.id, f.name AS flow FROM inbox i JOIN flow f ON f.id = i.flow_id
WHERE i.tenant_id = %(tenant)s AND i.key_hash = %(key_hash)s AND i.body IS NOT NULL AND i.chunk_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM chunk c WHERE c.id = i.chunk_id AND c.state = 'read')

-- name: empty_events
-- Empties events; their ids stay, so that a repeat is still recognised.
UPDATE inbox SET body = NULL, key_hash = NULL WHERE tenant_id = %(tenant)s AND id = ANY(%(ids)s)

-- name: erased_before
-- The event of the last erasure of a record.
SELECT max(id) AS id FROM (
    SELECT id FROM audit_outbox
    WHERE tenant_id = %(tenant)s AND event = 'record.erased' AND detail ->> 'key_hash' = %(text)s::text
    UNION ALL SELECT id FROM log_entry
    WHERE tenant_id = %(tenant)s AND event = 'record.erased' AND leaf::jsonb -> 'detail' ->> 'key_hash' = %(text)s::text
) erasures
