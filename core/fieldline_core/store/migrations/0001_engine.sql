-- The engine's tables. Every one carries tenant_id; every column that holds a record's content is ciphertext (bytea).

CREATE TABLE tenant (
    id             int PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    writes_paused  text,
    paused_by      text,
    paused_at      timestamptz
);
INSERT INTO tenant (id, name) VALUES (1, 'default');

CREATE TABLE data_key (
    tenant_id  int NOT NULL REFERENCES tenant,
    id         int NOT NULL,
    purpose    text NOT NULL CHECK (purpose IN ('content', 'index')),
    wrapped    bytea NOT NULL,
    provider   text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE secret (
    tenant_id  int NOT NULL REFERENCES tenant,
    name       text NOT NULL,
    body       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE document (
    tenant_id  int NOT NULL REFERENCES tenant,
    kind       text NOT NULL CHECK (kind IN ('connection', 'mapping', 'flow')),
    name       text NOT NULL,
    digest     text NOT NULL,
    body       jsonb NOT NULL,
    source     text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind, name, digest)
);

CREATE TABLE published (
    tenant_id    int NOT NULL REFERENCES tenant,
    kind         text NOT NULL,
    name         text NOT NULL,
    digest       text NOT NULL,
    published_by text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind, name),
    FOREIGN KEY (tenant_id, kind, name, digest) REFERENCES document
);

CREATE TABLE flow (
    id            int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id     int NOT NULL REFERENCES tenant,
    name          text NOT NULL,
    release_id    int,
    paused_reason text,
    paused_by     text,
    paused_at     timestamptz,
    schedule      text,
    next_at       timestamptz,
    cursor        bytea,
    pruned        boolean NOT NULL DEFAULT false,
    UNIQUE (tenant_id, name)
);

CREATE TABLE release (
    id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  int NOT NULL REFERENCES tenant,
    flow_id    int NOT NULL REFERENCES flow,
    digest     text NOT NULL,
    body       jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, digest)
);
ALTER TABLE flow ADD FOREIGN KEY (release_id) REFERENCES release;

CREATE TABLE run (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    int NOT NULL REFERENCES tenant,
    flow_id      int NOT NULL REFERENCES flow,
    release_id   int NOT NULL REFERENCES release,
    kind         text NOT NULL CHECK (kind IN ('batch', 'events', 'replay')),
    state        text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    reason       text,
    requested_by text NOT NULL,
    row_limit    bigint,
    rescore      boolean NOT NULL DEFAULT false,
    disjoint     boolean NOT NULL DEFAULT false,
    cursor       bytea,
    exhausted    boolean NOT NULL DEFAULT false,
    rows_read    bigint NOT NULL DEFAULT 0,
    duplicates   bigint NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    finished_at  timestamptz,
    fence        int NOT NULL DEFAULT 0,
    lease_owner  text,
    lease_until  timestamptz,
    attempts     int NOT NULL DEFAULT 0,
    crashes      int NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    sent_at      timestamptz,
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (state IN ('queued', 'running') OR lease_owner IS NULL)
);
CREATE INDEX run_open ON run (tenant_id, due_at) WHERE state IN ('queued', 'running');
CREATE UNIQUE INDEX run_standing ON run (tenant_id, flow_id, release_id) WHERE kind = 'events' AND state IN ('queued', 'running');
CREATE INDEX run_flow ON run (tenant_id, flow_id, id DESC);

CREATE TABLE chunk (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    int NOT NULL REFERENCES tenant,
    run_id       bigint NOT NULL REFERENCES run,
    flow_id      int NOT NULL REFERENCES flow,
    release_id   int NOT NULL REFERENCES release,
    seq          bigint NOT NULL,
    state        text NOT NULL DEFAULT 'read' CHECK (state IN ('read', 'scored', 'done', 'dead')),
    queue        text NOT NULL,
    rows         int NOT NULL,
    scored       int NOT NULL DEFAULT 0,
    held         int NOT NULL DEFAULT 0,
    skipped      int NOT NULL DEFAULT 0,
    written      int NOT NULL DEFAULT 0,
    refused      int NOT NULL DEFAULT 0,
    left_alone   int NOT NULL DEFAULT 0,
    open_effects int NOT NULL DEFAULT 0,
    body         bytea,
    replay_of    bigint,
    only_write   text,
    received_at  timestamptz NOT NULL DEFAULT now(),
    scored_at    timestamptz,
    done_at      timestamptz,
    last_error   text,
    fence        int NOT NULL DEFAULT 0,
    lease_owner  text,
    lease_until  timestamptz,
    attempts     int NOT NULL DEFAULT 0,
    crashes      int NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    sent_at      timestamptz,
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (state = 'read' OR lease_owner IS NULL)
);
ALTER TABLE chunk ALTER body SET STORAGE EXTERNAL;
CREATE INDEX chunk_due ON chunk (tenant_id, queue, due_at) WHERE state = 'read';
CREATE INDEX chunk_replay ON chunk (tenant_id, flow_id) WHERE only_write IS NOT NULL;
CREATE INDEX chunk_open ON chunk (tenant_id, flow_id) WHERE state IN ('read', 'scored');
CREATE INDEX chunk_scored ON chunk (tenant_id, flow_id, seq) WHERE scored_at IS NOT NULL;
CREATE INDEX chunk_run ON chunk (run_id, id);
CREATE INDEX chunk_ended ON chunk (tenant_id, done_at) WHERE state IN ('done', 'dead');

CREATE TABLE inbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   int NOT NULL REFERENCES tenant,
    flow_id     int NOT NULL REFERENCES flow,
    release_id  int NOT NULL REFERENCES release,
    sender      text NOT NULL,
    event_id    text NOT NULL,
    body        bytea,
    body_hash   bytea NOT NULL,
    chunk_id    bigint,
    received_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, sender, event_id)
);
ALTER TABLE inbox ALTER body SET STORAGE EXTERNAL;
CREATE INDEX inbox_waiting ON inbox (tenant_id, flow_id, release_id, id) WHERE chunk_id IS NULL;
CREATE INDEX inbox_received ON inbox USING brin (received_at);
CREATE INDEX inbox_chunk ON inbox (chunk_id) WHERE chunk_id IS NOT NULL;

CREATE TABLE evidence (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  int NOT NULL REFERENCES tenant,
    kind       text NOT NULL CHECK (kind IN ('decisions', 'receipts')),
    chunk_id   bigint NOT NULL,
    effect_id  bigint,
    rows       int NOT NULL,
    body       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE evidence ALTER body SET STORAGE EXTERNAL;
CREATE INDEX evidence_chunk ON evidence (chunk_id);

CREATE TABLE decision (
    tenant_id     int NOT NULL,
    key_hash      uuid NOT NULL,
    seq           bigint NOT NULL,
    chunk_id      bigint NOT NULL,
    flow_id       int NOT NULL,
    release_id    int NOT NULL,
    row_no        int NOT NULL,
    source_digest bigint NOT NULL
);
CREATE INDEX decision_key ON decision (key_hash, flow_id, seq DESC, chunk_id DESC);

CREATE TABLE effect (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    int NOT NULL REFERENCES tenant,
    chunk_id     bigint NOT NULL REFERENCES chunk,
    flow_id      int NOT NULL REFERENCES flow,
    release_id   int NOT NULL REFERENCES release,
    write_name   text NOT NULL,
    target       text NOT NULL,
    key          text NOT NULL,
    seq          bigint NOT NULL,
    state        text NOT NULL DEFAULT 'intended' CHECK (state IN ('intended', 'submitted', 'confirmed', 'refused', 'unknown')),
    rows         int NOT NULL,
    body         bytea,
    handle       jsonb,
    reserved     boolean NOT NULL DEFAULT false,
    written      int NOT NULL DEFAULT 0,
    refused      int NOT NULL DEFAULT 0,
    left_alone   int NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    finished_at  timestamptz,
    last_error   text,
    fence        int NOT NULL DEFAULT 0,
    lease_owner  text,
    lease_until  timestamptz,
    attempts     int NOT NULL DEFAULT 0,
    crashes      int NOT NULL DEFAULT 0,
    due_at       timestamptz NOT NULL DEFAULT now(),
    sent_at      timestamptz,
    UNIQUE (tenant_id, key),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL)),
    CHECK (state IN ('intended', 'submitted') OR lease_owner IS NULL)
);
ALTER TABLE effect ALTER body SET STORAGE EXTERNAL;
CREATE INDEX effect_due ON effect (tenant_id, target, due_at, id) WHERE state IN ('intended', 'submitted');
CREATE INDEX effect_sent ON effect (tenant_id, sent_at) WHERE state IN ('intended', 'submitted') AND sent_at IS NOT NULL;
CREATE INDEX effect_leased ON effect (tenant_id, target) WHERE lease_owner IS NOT NULL;
CREATE INDEX effect_chunk ON effect (chunk_id);

CREATE TABLE dead_letter (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   int NOT NULL REFERENCES tenant,
    flow_id     int NOT NULL REFERENCES flow,
    release_id  int NOT NULL REFERENCES release,
    run_id      bigint NOT NULL,
    chunk_id    bigint NOT NULL,
    effect_id   bigint,
    write_name  text,
    stage       text NOT NULL CHECK (stage IN ('accept', 'map', 'score', 'write')),
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'discarded')),
    reason      text NOT NULL,
    key_hash    uuid NOT NULL,
    seq         bigint NOT NULL,
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    ended_by    text,
    ended_why   text,
    replay_run  bigint
);
ALTER TABLE dead_letter ALTER body SET STORAGE EXTERNAL;
CREATE INDEX dead_letter_open ON dead_letter (tenant_id, flow_id, reason, id) WHERE state = 'open';
CREATE INDEX dead_letter_key ON dead_letter (key_hash);
CREATE INDEX dead_letter_run ON dead_letter (run_id);
CREATE INDEX dead_letter_ended ON dead_letter (tenant_id, ended_at) WHERE state <> 'open';

CREATE TABLE target (
    tenant_id     int NOT NULL REFERENCES tenant,
    name          text NOT NULL,
    rate_per_s    double precision,
    burst         double precision,
    concurrency   int NOT NULL DEFAULT 4,
    tokens        double precision NOT NULL DEFAULT 0,
    refilled_at   timestamptz NOT NULL DEFAULT now(),
    breaker       text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
    failures      int NOT NULL DEFAULT 0,
    retry_at      timestamptz,
    reason        text,
    PRIMARY KEY (tenant_id, name)
);

-- How many more writes each target takes at this moment: the rules are those of fieldline_core.admission, seen from afar, so that the
-- relay does not ring for what the gate would put off.
CREATE VIEW target_room AS
SELECT t.tenant_id, t.name, least(
    CASE WHEN t.breaker = 'closed' THEN t.concurrency WHEN t.retry_at > now() THEN 0 ELSE 1 END - (
        SELECT count(*) FROM effect e WHERE e.tenant_id = t.tenant_id AND e.target = t.name AND e.lease_owner IS NOT NULL
            AND e.lease_until > now()),
    CASE WHEN t.rate_per_s IS NOT NULL THEN
        floor(least(coalesce(t.burst, 10), t.tokens + t.rate_per_s * greatest(0, extract(epoch FROM now() - t.refilled_at))::float)) END
)::int AS room
FROM target t;

CREATE TABLE changed_hour (
    tenant_id int NOT NULL REFERENCES tenant,
    flow_id   int NOT NULL REFERENCES flow,
    hour      timestamptz NOT NULL,
    rows      bigint NOT NULL,
    PRIMARY KEY (tenant_id, flow_id, hour)
);

CREATE TABLE worker (
    id         text PRIMARY KEY,
    queues     text[] NOT NULL,
    slots      int NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    claimed_at timestamptz
);

CREATE TABLE api_key (
    tenant_id    int NOT NULL REFERENCES tenant,
    id           text NOT NULL,
    digest       bytea NOT NULL,
    label        text NOT NULL,
    scopes       text[] NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE audit_outbox (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id int NOT NULL REFERENCES tenant,
    event     text NOT NULL,
    actor     text NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    detail    jsonb NOT NULL
);
CREATE INDEX audit_outbox_at ON audit_outbox (tenant_id, at);

CREATE TABLE model_file (
    tenant_id int NOT NULL REFERENCES tenant,
    digest    text NOT NULL,
    path      text NOT NULL,
    part      int NOT NULL,
    bytes     bytea NOT NULL,
    PRIMARY KEY (tenant_id, digest, path, part)
);
ALTER TABLE model_file ALTER bytes SET STORAGE EXTERNAL;

CREATE TABLE model_version (
    tenant_id   int NOT NULL REFERENCES tenant,
    name        text NOT NULL,
    version     int NOT NULL,
    digest      text NOT NULL,
    signature   jsonb NOT NULL,
    facts       jsonb NOT NULL,
    device      text NOT NULL DEFAULT 'cpu' CHECK (device IN ('cpu', 'cuda')),
    fallback    boolean NOT NULL DEFAULT true,
    imported_by text NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name, version),
    UNIQUE (tenant_id, name, digest)
);

CREATE TABLE model_alias (
    tenant_id int NOT NULL REFERENCES tenant,
    name      text NOT NULL,
    alias     text NOT NULL CHECK (alias IN ('champion', 'challenger')),
    version   int NOT NULL,
    moved_by  text NOT NULL,
    moved_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name, alias),
    FOREIGN KEY (tenant_id, name, version) REFERENCES model_version
);
