-- name: plan_anew
-- Lets the next queries be planned for what is asked: most conditions fall away.
SET LOCAL plan_cache_mode = force_custom_plan

-- name: releases
-- What each release is, for those that are to be found by it.
SELECT r.id, f.name AS flow, r.body -> 'flow' ->> 'mapping' AS mapping, r.body ->> 'mapping' AS mapping_digest, r.body -> 'models' AS models
FROM release r JOIN flow f ON f.id = r.flow_id WHERE r.tenant_id = %(tenant)s

-- name: batches
-- Batches of decisions by these releases from a place on, newest first.
SELECT e.id, e.chunk_id, e.created_at, e.zone, k.wrapped, NULL::int AS row_no
FROM unnest(%(releases)s::int[]) r (id) CROSS JOIN LATERAL (
    SELECT id, chunk_id, created_at, zone FROM evidence b
    WHERE b.tenant_id = %(tenant)s AND b.kind = 'decisions' AND b.release_id = r.id
        AND (b.created_at, b.id) <= (%(at)s::timestamptz, %(id)s::bigint)
        AND b.created_at >= %(since)s::timestamptz AND b.created_at < %(until)s::timestamptz
    ORDER BY b.created_at DESC, b.id DESC LIMIT %(limit)s
) e LEFT JOIN batch_key k ON k.evidence_id = e.id
ORDER BY e.created_at DESC, e.id DESC LIMIT %(limit)s

-- name: places
-- Where the decisions on a record are, from a place on, newest first.
SELECT e.id, e.chunk_id, e.created_at, e.zone, k.wrapped, d.row_no
FROM decision d JOIN evidence e ON e.chunk_id = d.chunk_id AND e.kind = 'decisions' LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE d.key_hash = %(key_hash)s AND d.tenant_id = %(tenant)s
    AND (%(releases)s::int[] IS NULL OR d.release_id = ANY(%(releases)s::int[]))
    AND (e.created_at, e.id) <= (%(at)s::timestamptz, %(id)s::bigint)
    AND e.created_at >= %(since)s::timestamptz AND e.created_at < %(until)s::timestamptz
ORDER BY e.created_at DESC, e.id DESC LIMIT %(limit)s

-- name: batch_of_chunk
-- The batch of a chunk's decisions, and which of its rows is wanted (null for all).
SELECT e.id, e.chunk_id, e.created_at, e.zone, k.wrapped, %(row)s::int AS row_no
FROM evidence e LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE e.tenant_id = %(tenant)s AND e.kind = 'decisions' AND e.chunk_id = %(chunk)s
    AND (%(releases)s::int[] IS NULL OR e.release_id = ANY(%(releases)s::int[]))
    AND (e.created_at, e.id) <= (%(at)s::timestamptz, %(id)s::bigint)
    AND e.created_at >= %(since)s::timestamptz AND e.created_at < %(until)s::timestamptz
LIMIT %(limit)s

-- name: answered
-- What targets answered to the decisions of these chunks, in short.
SELECT e.chunk_id, e.zone, k.wrapped FROM evidence e LEFT JOIN batch_key k ON k.evidence_id = e.id
WHERE e.tenant_id = %(tenant)s AND e.kind = 'receipts' AND e.chunk_id = ANY(%(chunks)s)

-- name: events_of_chunk
-- The audit events that hold the evidence of a chunk.
SELECT event_id FROM evidence WHERE tenant_id = %(tenant)s AND chunk_id = %(chunk)s

-- name: words
-- What is looked for, each text as words one after another, the last one perhaps only begun; null where there is no word.
SELECT string_agg('(' || phrase::text || ':*)', ' & ') AS words
FROM unnest(%(texts)s::text[]) given, phraseto_tsquery('simple', plain_words(given)) phrase WHERE numnode(phrase) > 0

-- name: events
-- Audit events before one, newest first; those in the log with their place in it.
SELECT id, event, actor, at, detail, position FROM audit_event
WHERE tenant_id = %(tenant)s AND id < %(before)s AND at >= %(since)s::timestamptz AND at < %(until)s::timestamptz
    AND (%(actions)s::text[] IS NULL OR event = ANY(%(actions)s::text[]))
    AND (%(actors)s::text[] IS NULL OR actor = ANY(%(actors)s::text[]))
    AND (%(flows)s::text[] IS NULL OR detail ->> 'flow' = ANY(%(flows)s::text[]))
    AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s::bigint[]))
ORDER BY id DESC LIMIT %(limit)s

-- name: events_by_words
-- Audit events before one that hold certain words, newest first: those that say something are looked at by their index alone.
WITH found AS MATERIALIZED (
    SELECT id, event, actor, at, detail, position FROM audit_event
    WHERE tenant_id = %(tenant)s AND NOT bulk AND words @@ %(words)s::tsquery
)
SELECT * FROM found
WHERE id < %(before)s AND at >= %(since)s::timestamptz AND at < %(until)s::timestamptz
    AND (%(actions)s::text[] IS NULL OR event = ANY(%(actions)s::text[]))
    AND (%(actors)s::text[] IS NULL OR actor = ANY(%(actors)s::text[]))
    AND (%(flows)s::text[] IS NULL OR detail ->> 'flow' = ANY(%(flows)s::text[]))
    AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s::bigint[]))
    AND (%(key_hash)s::text IS NULL OR detail ->> 'key_hash' = %(key_hash)s::text OR detail -> 'key_hashes' ? %(key_hash)s::text)
    AND (%(mapping)s::text IS NULL OR detail ->> 'mapping' = %(mapping)s::text
        OR detail ->> 'kind' = 'mapping' AND detail ->> 'name' = %(mapping)s::text)
    AND (%(model)s::text IS NULL OR split_part(detail ->> 'model', '@', 1) = %(model)s::text)
ORDER BY id DESC LIMIT %(limit)s
