-- name: chunk
-- How a chunk came to be read; nothing where it was removed by retention.
SELECT c.received_at, c.replay_of, r.id AS run, r.kind, r.requested_by
FROM chunk c JOIN run r ON r.id = c.run_id WHERE c.tenant_id = %(tenant)s AND c.id = %(chunk)s

-- name: release
-- A release by its digest.
SELECT id FROM release WHERE tenant_id = %(tenant)s AND digest = %(digest)s

-- name: waiting
-- Writes of a chunk that have not ended.
SELECT write_name AS write, target, state, attempts, due_at, last_error FROM effect
WHERE tenant_id = %(tenant)s AND chunk_id = %(chunk)s AND state IN ('intended', 'submitted') ORDER BY id

-- name: letters
-- The dead letters of a record in a chunk.
SELECT id, stage, state, reason, created_at, ended_at, ended_by, ended_why, replay_run FROM dead_letter
WHERE tenant_id = %(tenant)s AND chunk_id = %(chunk)s AND key_hash = %(key_hash)s ORDER BY id

-- name: entries
-- Where some audit events are in the log, and the first checkpoint that covers each.
SELECT e.id, e.position, c.size, c.at AS sealed_at FROM audit_event e
LEFT JOIN LATERAL (SELECT size, at FROM log_checkpoint WHERE tenant_id = e.tenant_id AND size > e.position ORDER BY size LIMIT 1) c ON true
WHERE e.tenant_id = %(tenant)s AND e.id = ANY(%(ids)s)

-- name: acts
-- Who published the mapping and the release, imported the model or moved its alias to it, before a time; and who asked for these undos.
SELECT id, event, actor, at, detail FROM audit_event
WHERE tenant_id = %(tenant)s AND at <= %(until)s AND (
    (event = 'config.published' AND (detail ->> 'digest' = %(mapping)s OR detail ->> 'release' = %(release)s))
    OR (event IN ('model.imported', 'model.alias_moved') AND detail ->> 'digest' = ANY(%(models)s)))
UNION ALL
SELECT id, event, actor, at, detail FROM audit_event
WHERE tenant_id = %(tenant)s AND event = 'undo.requested' AND detail ->> 'run' = ANY(%(undos)s)
ORDER BY at, id LIMIT 100

-- name: erasures
-- When and why a record was erased, the last time first.
SELECT id, event, actor, at, detail FROM audit_event
WHERE tenant_id = %(tenant)s AND event = 'record.erased' AND detail ->> 'key_hash' = %(key_hash)s::text ORDER BY id DESC LIMIT 10
