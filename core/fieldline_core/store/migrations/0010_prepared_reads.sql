-- Reads that wait for their source: whether it prepares or keeps something for a run, which is given up with the run.

ALTER TABLE run ADD COLUMN prepared boolean NOT NULL DEFAULT false;
CREATE INDEX run_prepared ON run (tenant_id, due_at) WHERE prepared AND state IN ('succeeded', 'failed', 'cancelled');
