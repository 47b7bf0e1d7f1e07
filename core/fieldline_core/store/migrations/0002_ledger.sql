-- The log: evidence under a key of its own, entries, tiles and checkpoints, and how many records each flow has taken in.

-- Apart from the evidence: this table is left out of the main dump and has short-lived backups of its own, so that what was erased
-- cannot be read from an old backup for longer than those are kept.
CREATE TABLE batch_key (
    tenant_id   int NOT NULL REFERENCES tenant,
    evidence_id bigint PRIMARY KEY,
    wrapped     bytea NOT NULL
);

-- The event whose entry in the log holds the evidence's root.
ALTER TABLE evidence ADD event_id bigint NOT NULL;
CREATE UNIQUE INDEX evidence_event ON evidence (event_id);

CREATE TABLE intake (
    tenant_id int NOT NULL REFERENCES tenant,
    flow_id   int NOT NULL REFERENCES flow,
    received  bigint NOT NULL,
    PRIMARY KEY (tenant_id, flow_id)
);
ALTER TABLE chunk ADD intake_from bigint;

CREATE TABLE log_key (
    tenant_id  int NOT NULL REFERENCES tenant,
    name       text NOT NULL,
    public_key bytea NOT NULL,
    sealed     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE log_entry (
    tenant_id int NOT NULL REFERENCES tenant,
    position  bigint NOT NULL,
    id        bigint NOT NULL,
    event     text NOT NULL,
    actor     text NOT NULL,
    at        timestamptz NOT NULL,
    leaf      text NOT NULL,
    PRIMARY KEY (tenant_id, position),
    UNIQUE (tenant_id, id)
);
CREATE INDEX log_entry_event ON log_entry (tenant_id, event, id DESC);

-- Hashes side by side, as C2SP tlog-tiles has them; the newest tile of a level gets wider.
CREATE TABLE log_tile (
    tenant_id int NOT NULL REFERENCES tenant,
    level     int NOT NULL,
    number    bigint NOT NULL,
    hashes    bytea NOT NULL,
    PRIMARY KEY (tenant_id, level, number)
);
ALTER TABLE log_tile ALTER hashes SET STORAGE EXTERNAL;

CREATE TABLE log_checkpoint (
    tenant_id int NOT NULL REFERENCES tenant,
    size      bigint NOT NULL,
    note      bytea NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, size)
);

CREATE INDEX audit_outbox_event ON audit_outbox (tenant_id, event, id DESC);
