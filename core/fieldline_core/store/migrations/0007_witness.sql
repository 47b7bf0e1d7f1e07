-- Witnesses of the log: who is shown its checkpoints, and what they signed; and several keys of the log, one after another.

CREATE TABLE witness (
    tenant_id int NOT NULL REFERENCES tenant,
    name      text NOT NULL,
    -- The size of the newest checkpoint that it has, and when it got that.
    size      bigint NOT NULL DEFAULT 0,
    seen_at   timestamptz,
    due_at    timestamptz NOT NULL DEFAULT now(),
    failures  int NOT NULL DEFAULT 0,
    problem   text,
    -- It has another log under this name: a person must look.
    forked    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE log_cosignature (
    tenant_id int NOT NULL REFERENCES tenant,
    size      bigint NOT NULL,
    witness   text NOT NULL,
    -- Signature lines as they stand under the note; none where the witness only keeps the checkpoint.
    lines     text NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, size, witness),
    FOREIGN KEY (tenant_id, size) REFERENCES log_checkpoint
);

-- Named by an export or a certificate that somebody holds: it is never removed.
ALTER TABLE log_checkpoint ADD named boolean NOT NULL DEFAULT false;
CREATE INDEX log_checkpoint_at ON log_checkpoint (tenant_id, at);

-- A log keeps its name for ever, and signs by one key after another.
ALTER TABLE log_key DROP CONSTRAINT log_key_pkey, ADD PRIMARY KEY (tenant_id, public_key);
-- Until then checkpoints bear this key's signature, too, though another key has taken its place.
ALTER TABLE log_key ADD also_until timestamptz;
