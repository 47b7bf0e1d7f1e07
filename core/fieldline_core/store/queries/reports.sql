-- name: bounds
-- The first and the last place of a period in the log, whose order is about that of time; not by the key's index, which would walk there.
SELECT min(position + 0) AS first, max(position + 0) AS last FROM log_entry
WHERE tenant_id = %(tenant)s AND at >= %(since)s AND at < %(until)s

-- name: entries
-- Entries of some events between two places, in order; of one flow, where it is named.
SELECT position, id, at, event, actor, leaf FROM log_entry
WHERE tenant_id = %(tenant)s AND position > %(after)s AND position <= %(last)s AND at >= %(since)s AND at < %(until)s
    AND event = ANY(%(events)s) AND (%(flow)s::text IS NULL OR leaf::jsonb -> 'detail' ->> 'flow' = %(flow)s)
ORDER BY position LIMIT %(limit)s

-- name: entries_of_record
-- Entries on a record in a period, in order: its batches of evidence, and what people did with it, by its keyed hash or its dead letters.
WITH decided AS MATERIALIZED (
    SELECT DISTINCT chunk_id FROM decision WHERE tenant_id = %(tenant)s AND key_hash = %(key_hash)s
)
SELECT position, id, at, event, actor, leaf FROM (
    SELECT l.* FROM decided d JOIN evidence e ON e.chunk_id = d.chunk_id
    JOIN log_entry l ON l.tenant_id = e.tenant_id AND l.id = e.event_id WHERE e.tenant_id = %(tenant)s
    UNION
    SELECT l.* FROM log_entry l
    WHERE l.tenant_id = %(tenant)s AND l.event <> 'decisions.recorded' AND l.event <> 'receipts.recorded'
        AND l.leaf::jsonb -> 'detail' ? 'key_hash' AND l.leaf::jsonb -> 'detail' ->> 'key_hash' = %(text)s::text
    UNION
    SELECT l.* FROM log_entry l
    WHERE l.tenant_id = %(tenant)s AND l.event = 'decision.viewed' AND l.leaf::jsonb -> 'detail' -> 'key_hashes' ? %(text)s::text
    UNION
    SELECT l.* FROM dead_letter d JOIN log_entry l ON l.tenant_id = d.tenant_id AND l.event = 'dead_letter.viewed'
        AND l.leaf::jsonb -> 'detail' ->> 'dead_letter' = d.id::text
    WHERE d.tenant_id = %(tenant)s AND d.key_hash = %(key_hash)s
) touched
WHERE position > %(after)s AND at >= %(since)s AND at < %(until)s AND event = ANY(%(events)s)
    AND (%(flow)s::text IS NULL OR leaf::jsonb -> 'detail' ->> 'flow' = %(flow)s)
ORDER BY position LIMIT %(limit)s

-- name: release
-- What a release is.
SELECT id, flow_id, body FROM release WHERE tenant_id = %(tenant)s AND digest = %(digest)s

-- name: released
-- The entry that published a release last.
SELECT position, id, at, event, actor, leaf FROM log_entry
WHERE tenant_id = %(tenant)s AND event = 'config.published' AND leaf::jsonb -> 'detail' ->> 'release' = %(digest)s
ORDER BY position DESC LIMIT 1

-- name: release_before
-- The release of a flow that was published before a place in the log.
SELECT leaf::jsonb -> 'detail' ->> 'release' AS digest FROM log_entry
WHERE tenant_id = %(tenant)s AND event = 'config.published' AND position < %(position)s
    AND leaf::jsonb -> 'detail' ->> 'kind' = 'release' AND leaf::jsonb -> 'detail' ->> 'flow' = %(flow)s
ORDER BY position DESC LIMIT 1

-- name: alias_before
-- Where an alias of a model pointed before a place in the log.
SELECT leaf::jsonb -> 'detail' AS detail FROM log_entry
WHERE tenant_id = %(tenant)s AND event = 'model.alias_moved' AND position < %(position)s
    AND leaf::jsonb -> 'detail' ->> 'alias' = %(alias)s AND split_part(leaf::jsonb -> 'detail' ->> 'model', '@', 1) = %(name)s
ORDER BY position DESC LIMIT 1

-- name: document
-- One version of a document.
SELECT body FROM document WHERE tenant_id = %(tenant)s AND kind = %(kind)s AND name = %(name)s AND digest = %(digest)s

-- name: api_key
-- What a key was made for and may do.
SELECT label, scopes FROM api_key WHERE tenant_id = %(tenant)s AND id = %(id)s

-- name: asked_by
-- Who asked for the run in which a chunk was decided, while that is kept.
SELECT r.requested_by FROM chunk c JOIN run r ON r.id = c.run_id WHERE c.tenant_id = %(tenant)s AND c.id = %(chunk)s

-- name: letters
-- The dead letters of a record.
SELECT l.id, f.name AS flow, l.stage, l.state, l.reason, l.created_at, l.body
FROM dead_letter l JOIN flow f ON f.id = l.flow_id
WHERE l.tenant_id = %(tenant)s AND l.key_hash = %(key_hash)s AND l.id > %(after)s ORDER BY l.id LIMIT %(limit)s

-- name: messages
-- The messages of a record that are still kept.
SELECT i.id, f.name AS flow, i.sender, i.received_at, i.body FROM inbox i JOIN flow f ON f.id = i.flow_id
WHERE i.tenant_id = %(tenant)s AND i.key_hash = %(key_hash)s AND i.body IS NOT NULL AND i.id > %(after)s
ORDER BY i.id LIMIT %(limit)s

-- name: flows
-- The flows that decide, each with its release.
SELECT r.digest FROM flow f JOIN release r ON r.id = f.release_id
WHERE f.tenant_id = %(tenant)s AND (%(flow)s::text IS NULL OR f.name = %(flow)s) ORDER BY f.name
