-- name: received_equals_done_dead_in_flight
-- Runs whose rows read are not the rows of their chunks and the duplicates.
SELECT count(*) AS n FROM run r WHERE r.tenant_id = %(tenant)s AND r.kind = 'batch'
    AND r.rows_read <> r.duplicates + coalesce((SELECT sum(c.rows) FROM chunk c WHERE c.run_id = r.id), 0)
    AND (r.finished_at IS NULL OR EXISTS (SELECT 1 FROM chunk c WHERE c.run_id = r.id))

-- name: chunk_counts_add_up
-- Ended chunks whose rows are not accounted for.
SELECT count(*) AS n FROM chunk c WHERE c.tenant_id = %(tenant)s AND (
    (c.state IN ('scored', 'done') AND c.rows > 0 AND c.rows <> c.scored + c.held + c.skipped)
    OR (c.state <> 'dead' AND c.written + c.refused + c.left_alone >
        c.scored * greatest(1, (SELECT count(DISTINCT write_name) FROM effect e WHERE e.chunk_id = c.id))))

-- name: effects_of_open_chunks
-- Scored chunks whose count of open effects is wrong.
SELECT count(*) AS n FROM chunk c WHERE c.tenant_id = %(tenant)s AND c.state = 'scored'
    AND c.open_effects <> (SELECT count(*) FROM effect e WHERE e.chunk_id = c.id AND e.state IN ('intended', 'submitted'))

-- name: ended_chunks_have_no_open_effect
-- Open effects of ended chunks.
SELECT count(*) AS n FROM effect e JOIN chunk c ON c.id = e.chunk_id
WHERE e.tenant_id = %(tenant)s AND e.state IN ('intended', 'submitted') AND c.state IN ('done', 'dead', 'read')

-- name: decisions_have_evidence
-- Chunks with decisions whose evidence is missing or doubled.
SELECT count(*) AS n FROM chunk c WHERE c.tenant_id = %(tenant)s AND c.scored_at IS NOT NULL AND c.scored + c.held > 0
    AND (SELECT count(*) FROM evidence v WHERE v.chunk_id = c.id AND v.kind = 'decisions') <> 1

-- name: confirmed_effects_have_receipts
-- Ended effects without receipts.
SELECT count(*) AS n FROM effect e JOIN chunk c ON c.id = e.chunk_id
WHERE e.tenant_id = %(tenant)s AND e.state IN ('confirmed', 'refused')
    AND NOT EXISTS (SELECT 1 FROM evidence v WHERE v.chunk_id = coalesce(c.undo_of, c.id) AND v.effect_id = e.id)

-- name: evidence_is_recorded
-- Evidence without a key, or whose event is neither in the outbox nor in the log.
SELECT count(*) AS n FROM evidence v WHERE v.tenant_id = %(tenant)s AND (
    NOT EXISTS (SELECT 1 FROM batch_key k WHERE k.evidence_id = v.id)
    OR (NOT EXISTS (SELECT 1 FROM audit_outbox o WHERE o.id = v.event_id)
        AND NOT EXISTS (SELECT 1 FROM log_entry e WHERE e.tenant_id = v.tenant_id AND e.id = v.event_id)))

-- name: the_log_is_whole
-- Entries that the newest checkpoint does not count, or that it counts and that are not there.
SELECT abs(count(*) - coalesce((SELECT max(size) FROM log_checkpoint WHERE tenant_id = %(tenant)s), 0)) AS n
FROM log_entry WHERE tenant_id = %(tenant)s

-- name: nothing_waits_unseen
-- Work that has been due for an hour although nothing holds it back.
SELECT (SELECT count(*) FROM effect e JOIN flow f ON f.id = e.flow_id JOIN tenant n ON n.id = e.tenant_id
            JOIN target_room t ON t.tenant_id = e.tenant_id AND t.name = e.target AND t.room > 0
        WHERE e.tenant_id = %(tenant)s AND e.state IN ('intended', 'submitted') AND e.due_at < now() - interval '1 hour'
            AND (e.lease_until IS NULL OR e.lease_until < now() - interval '1 hour') AND f.paused_at IS NULL AND n.paused_at IS NULL)
    + (SELECT count(*) FROM chunk c JOIN flow f ON f.id = c.flow_id
        WHERE c.tenant_id = %(tenant)s AND c.state = 'read' AND c.due_at < now() - interval '1 hour'
            AND (c.lease_until IS NULL OR c.lease_until < now() - interval '1 hour') AND f.paused_at IS NULL) AS n

-- name: ended_runs_have_no_open_chunk
-- Runs that succeeded with an open chunk.
SELECT count(*) AS n FROM run r WHERE r.tenant_id = %(tenant)s AND r.state = 'succeeded'
    AND EXISTS (SELECT 1 FROM chunk c WHERE c.run_id = r.id AND c.state IN ('read', 'scored') AND c.replay_of IS NULL AND c.open_effects = 0)

-- name: events_are_in_one_chunk
-- Chunks of events that do not hold as many events as they count.
SELECT count(*) AS n FROM chunk c JOIN run r ON r.id = c.run_id
WHERE c.tenant_id = %(tenant)s AND r.kind = 'events' AND c.state = 'read' AND c.body IS NULL
    AND c.rows <> (SELECT count(*) FROM inbox i WHERE i.chunk_id = c.id)
