-- Feeds: where each flow that listens to changes goes on, and since when it cannot.

CREATE TABLE feed (
    tenant_id     int NOT NULL REFERENCES tenant,
    flow_id       int NOT NULL REFERENCES flow,
    -- Of the connection and what is listened to there: the cursor of another topic means nothing.
    topic         text NOT NULL,
    cursor        bytea,
    -- Counts moves: of two listeners the one that did not see the last move stops.
    version       bigint NOT NULL DEFAULT 0,
    heard_at      timestamptz NOT NULL DEFAULT now(),
    failing_since timestamptz,
    last_error    text,
    PRIMARY KEY (tenant_id, flow_id)
);
