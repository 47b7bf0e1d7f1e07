-- Erasure: records that a person holds, and events that are found by the record's key.

CREATE TABLE legal_hold (
    tenant_id  int NOT NULL REFERENCES tenant,
    key_hash   uuid NOT NULL,
    key        bytea NOT NULL,
    why        text NOT NULL,
    placed_by  text NOT NULL,
    placed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key_hash)
);

-- Events of an earlier version have none; they go within FIELDLINE_RETAIN_INBOX_DAYS.
ALTER TABLE inbox ADD key_hash uuid;
CREATE INDEX inbox_key ON inbox (key_hash) WHERE body IS NOT NULL;
