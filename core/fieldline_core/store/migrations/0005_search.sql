-- Search: batches of decisions by release and time, and audit events by what they say.

-- What a batch holds at all (its outcomes, its least and greatest score), sealed under the batch's own key; a batch that has none is opened.
ALTER TABLE evidence ADD release_id int REFERENCES release, ADD zone bytea;

UPDATE evidence e SET release_id = r.id FROM log_entry l JOIN release r
    ON r.tenant_id = l.tenant_id AND r.digest = l.leaf::jsonb -> 'detail' ->> 'release'
WHERE e.kind = 'decisions' AND l.tenant_id = e.tenant_id AND l.id = e.event_id;
UPDATE evidence e SET release_id = r.id FROM audit_outbox o JOIN release r
    ON r.tenant_id = o.tenant_id AND r.digest = o.detail ->> 'release'
WHERE e.kind = 'decisions' AND e.release_id IS NULL AND o.id = e.event_id;

-- An earlier version that still runs names no release: its event, recorded just before, does.
CREATE FUNCTION evidence_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT r.id INTO NEW.release_id FROM audit_outbox o JOIN release r
        ON r.tenant_id = o.tenant_id AND r.digest = o.detail ->> 'release'
    WHERE o.id = NEW.event_id;
    RETURN NEW;
END $$;
CREATE TRIGGER evidence_release BEFORE INSERT ON evidence
    FOR EACH ROW WHEN (NEW.release_id IS NULL AND NEW.kind = 'decisions') EXECUTE FUNCTION evidence_release();

CREATE INDEX evidence_release ON evidence (tenant_id, release_id, created_at DESC, id DESC) WHERE kind = 'decisions';

-- The words of a text, each behind an x: PostgreSQL's parser would take some apart (12e5f0) and others together (a.b/c).
CREATE FUNCTION plain_words(given text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN regexp_replace(regexp_replace(given, '\\(u[0-9A-Fa-f]{4}|.)|[^[:alnum:]]+', ' ', 'g'), '([[:alnum:]]+)', 'x\1', 'g');

CREATE FUNCTION event_words(event text, actor text, detail jsonb) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN to_tsvector('simple', plain_words(event || ' ' || actor || ' ' || detail::text));

-- All audit events, in the log or on their way; `bulk` ones are those that the work itself leaves by the thousand: numbers and digests.
CREATE VIEW audit_event AS
SELECT tenant_id, id, event, actor, at, detail, NULL::bigint AS position, event_words(event, actor, detail) AS words,
    event IN ('decisions.recorded', 'receipts.recorded', 'score.requested', 'log.counted') AS bulk
FROM audit_outbox
UNION ALL
SELECT tenant_id, id, event, actor, at, leaf::jsonb -> 'detail', position, event_words(event, actor, leaf::jsonb -> 'detail'),
    event IN ('decisions.recorded', 'receipts.recorded', 'score.requested', 'log.counted')
FROM log_entry;

CREATE INDEX log_entry_words ON log_entry USING gin (event_words(event, actor, leaf::jsonb -> 'detail'))
    WHERE event NOT IN ('decisions.recorded', 'receipts.recorded', 'score.requested', 'log.counted');
CREATE INDEX log_entry_flow ON log_entry (tenant_id, (leaf::jsonb -> 'detail' ->> 'flow'), id DESC);
CREATE INDEX log_entry_actor ON log_entry (tenant_id, actor, id DESC) WHERE actor <> 'engine';
CREATE INDEX log_entry_at ON log_entry (tenant_id, at);

-- What an OpenLineage endpoint was told of a run.
ALTER TABLE run ADD told text CHECK (told IN ('started', 'ended'));
CREATE INDEX run_untold ON run (tenant_id, id) WHERE told IS DISTINCT FROM 'ended';
