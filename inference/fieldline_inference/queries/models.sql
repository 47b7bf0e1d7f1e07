-- name: lock
-- Lets one import or move at a time happen to a model.
SELECT pg_advisory_xact_lock(7301002, hashtext(%(tenant)s::text || ':' || %(name)s))

-- name: by_digest
-- The version of a model that has these files, with its aliases.
SELECT v.*, array(
    SELECT a.alias FROM model_alias a WHERE (a.tenant_id, a.name, a.version) = (v.tenant_id, v.name, v.version) ORDER BY a.alias
) AS aliases
FROM model_version v WHERE v.tenant_id = %(tenant)s AND v.name = %(name)s AND v.digest = %(digest)s

-- name: by_version
-- One version of a model, with its aliases.
SELECT v.*, array(
    SELECT a.alias FROM model_alias a WHERE (a.tenant_id, a.name, a.version) = (v.tenant_id, v.name, v.version) ORDER BY a.alias
) AS aliases
FROM model_version v WHERE v.tenant_id = %(tenant)s AND v.name = %(name)s AND v.version = %(version)s

-- name: by_alias
-- The version of a model that an alias names, with all its aliases.
SELECT v.*, array(
    SELECT a.alias FROM model_alias a WHERE (a.tenant_id, a.name, a.version) = (v.tenant_id, v.name, v.version) ORDER BY a.alias
) AS aliases
FROM model_alias named JOIN model_version v USING (tenant_id, name, version)
WHERE named.tenant_id = %(tenant)s AND named.name = %(name)s AND named.alias = %(alias)s

-- name: versions
-- All versions of one model, or of every model, with their aliases.
SELECT v.*, array(
    SELECT a.alias FROM model_alias a WHERE (a.tenant_id, a.name, a.version) = (v.tenant_id, v.name, v.version) ORDER BY a.alias
) AS aliases
FROM model_version v WHERE v.tenant_id = %(tenant)s AND (%(name)s::text IS NULL OR v.name = %(name)s)
ORDER BY v.name, v.version

-- name: add
-- The next version of a model.
INSERT INTO model_version (tenant_id, name, version, digest, signature, facts, device, fallback, imported_by)
SELECT %(tenant)s, %(name)s, coalesce(max(version), 0) + 1, %(digest)s, %(signature)s, %(facts)s, %(device)s, %(fallback)s, %(by)s
FROM model_version WHERE tenant_id = %(tenant)s AND name = %(name)s
RETURNING version

-- name: prefer_device
-- Changes where a version runs.
UPDATE model_version SET device = %(device)s, fallback = %(fallback)s
WHERE tenant_id = %(tenant)s AND name = %(name)s AND version = %(version)s

-- name: set_alias
-- Points an alias at a version.
INSERT INTO model_alias (tenant_id, name, alias, version, moved_by)
VALUES (%(tenant)s, %(name)s, %(alias)s, %(version)s, %(by)s)
ON CONFLICT (tenant_id, name, alias) DO UPDATE SET version = excluded.version, moved_by = excluded.moved_by, moved_at = now()

-- name: has_files
-- Whether the files of a digest are stored.
SELECT 1 AS found FROM model_file WHERE tenant_id = %(tenant)s AND digest = %(digest)s LIMIT 1

-- name: add_part
-- Stores one part of a file; two names may get the same file at the same moment.
INSERT INTO model_file (tenant_id, digest, path, part, bytes) VALUES (%(tenant)s, %(digest)s, %(path)s, %(part)s, %(bytes)s)
ON CONFLICT DO NOTHING

-- name: parts
-- The parts of all files of a digest, without their bytes, in the order in which they are written.
SELECT path, part FROM model_file WHERE tenant_id = %(tenant)s AND digest = %(digest)s ORDER BY path, part

-- name: part
-- The bytes of one part.
SELECT bytes FROM model_file WHERE tenant_id = %(tenant)s AND digest = %(digest)s AND path = %(path)s AND part = %(part)s
