-- name: put_document
-- Keeps a version of a document.
INSERT INTO document (tenant_id, kind, name, digest, body, source, created_by)
VALUES (%(tenant)s, %(kind)s, %(name)s, %(digest)s, %(body)s, %(source)s, %(by)s) ON CONFLICT DO NOTHING

-- name: publish
-- Makes a version of a document the one that counts; no row where it is so already.
INSERT INTO published (tenant_id, kind, name, digest, published_by) VALUES (%(tenant)s, %(kind)s, %(name)s, %(digest)s, %(by)s)
ON CONFLICT (tenant_id, kind, name) DO UPDATE SET digest = excluded.digest, published_by = excluded.published_by, published_at = now()
WHERE published.digest <> excluded.digest
RETURNING digest

-- name: document
-- The version of a document that counts.
SELECT d.name, d.digest, d.body, d.source, p.published_at, p.published_by
FROM published p JOIN document d USING (tenant_id, kind, name, digest)
WHERE p.tenant_id = %(tenant)s AND p.kind = %(kind)s AND p.name = %(name)s

-- name: documents
-- All documents of a kind, in the version that counts.
SELECT d.name, d.digest, d.body, p.published_at, p.published_by
FROM published p JOIN document d USING (tenant_id, kind, name, digest)
WHERE p.tenant_id = %(tenant)s AND p.kind = %(kind)s ORDER BY d.name

-- name: document_by_digest
-- One version of a document.
SELECT name, body FROM document WHERE tenant_id = %(tenant)s AND kind = %(kind)s AND digest = %(digest)s LIMIT 1

-- name: versions
-- All versions of a document that were published, newest first, each with the releases that use it (of a mapping).
SELECT d.digest, d.body, d.created_at AS published_at, d.created_by AS published_by, p.digest IS NOT NULL AS current,
    (SELECT coalesce(jsonb_agg(jsonb_build_object('flow', f.name, 'release', r.digest, 'current', f.release_id = r.id) ORDER BY r.id DESC), '[]')
     FROM release r JOIN flow f ON f.id = r.flow_id WHERE r.tenant_id = d.tenant_id AND r.body ->> 'mapping' = d.digest) AS used
FROM document d LEFT JOIN published p USING (tenant_id, kind, name, digest)
WHERE d.tenant_id = %(tenant)s AND d.kind = %(kind)s AND d.name = %(name)s ORDER BY d.created_at DESC, d.digest

-- name: ensure
-- The flow of that name, made where it is not there.
INSERT INTO flow (tenant_id, name) VALUES (%(tenant)s, %(name)s)
ON CONFLICT (tenant_id, name) DO UPDATE SET name = excluded.name RETURNING id, schedule, next_at, release_id

-- name: put_release
-- Keeps a release.
INSERT INTO release (tenant_id, flow_id, digest, body) VALUES (%(tenant)s, %(flow)s, %(digest)s, %(body)s)
ON CONFLICT (tenant_id, digest) DO UPDATE SET digest = excluded.digest RETURNING id

-- name: point
-- Makes a release the flow's current one.
UPDATE flow SET release_id = %(release)s, schedule = %(schedule)s, next_at = %(next_at)s WHERE id = %(flow)s AND tenant_id = %(tenant)s

-- name: release
-- One release.
SELECT id, flow_id, digest, body FROM release WHERE id = %(id)s AND tenant_id = %(tenant)s

-- name: by_name
-- A flow with its current release.
SELECT f.id, f.name, f.release_id, r.digest AS release, f.paused_at, f.paused_by, f.paused_reason, f.schedule, f.next_at, r.body
FROM flow f LEFT JOIN release r ON r.id = f.release_id WHERE f.tenant_id = %(tenant)s AND f.name = %(name)s

-- name: listing
-- All flows.
SELECT f.id, f.name, r.digest AS release, f.paused_at, f.paused_by, f.paused_reason, f.schedule, f.next_at, r.body,
    (SELECT count(*) FROM dead_letter l WHERE l.flow_id = f.id AND l.tenant_id = f.tenant_id AND l.state = 'open') AS dead_letters,
    (SELECT max(c.scored_at) FROM chunk c WHERE c.flow_id = f.id AND c.tenant_id = f.tenant_id) AS last_scored_at
FROM flow f LEFT JOIN release r ON r.id = f.release_id WHERE f.tenant_id = %(tenant)s ORDER BY f.name

-- name: pause
-- Stops a flow: nothing of it is read, scored or written.
UPDATE flow SET paused_at = now(), paused_by = %(by)s, paused_reason = %(reason)s
WHERE tenant_id = %(tenant)s AND id = %(flow)s AND paused_at IS NULL

-- name: resume
-- Lets a flow go on.
UPDATE flow SET paused_at = NULL, paused_by = NULL, paused_reason = NULL
WHERE tenant_id = %(tenant)s AND id = %(flow)s AND paused_at IS NOT NULL

-- name: hasten_chunks
-- Makes the waiting chunks of a flow due at once.
UPDATE chunk SET due_at = now(), sent_at = NULL WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND state = 'read' AND lease_owner IS NULL

-- name: pause_writes
-- Stops all write-backs of the tenant.
UPDATE tenant SET paused_at = now(), paused_by = %(by)s, writes_paused = %(reason)s WHERE id = %(tenant)s AND paused_at IS NULL

-- name: resume_writes
-- Lets write-backs go on.
UPDATE tenant SET paused_at = NULL, paused_by = NULL, writes_paused = NULL WHERE id = %(tenant)s AND paused_at IS NOT NULL

-- name: writes_paused
-- Whether and why write-backs are stopped.
SELECT paused_at, paused_by, writes_paused AS reason FROM tenant WHERE id = %(tenant)s

-- name: targets
-- All targets with their limits and breakers.
SELECT name, rate_per_s, burst, concurrency, breaker, failures, retry_at, reason FROM target WHERE tenant_id = %(tenant)s ORDER BY name

-- name: clock
-- The database's clock.
SELECT now() AS now
