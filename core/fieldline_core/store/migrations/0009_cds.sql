-- CDS Hooks: the tokens that were used, each for one call.

CREATE TABLE cds_token (
    tenant_id int NOT NULL REFERENCES tenant,
    -- Keyed hash of who made the token and of its jti.
    digest    bytea NOT NULL,
    -- From then on the token is refused for its age.
    ends_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);
CREATE INDEX cds_token_ends ON cds_token (tenant_id, ends_at);
