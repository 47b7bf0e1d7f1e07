-- The reading queue of the example's laboratory system (PostgreSQL); Fieldline adds a row for each sample that it is told of.
CREATE TABLE reading_queue (
  sample_id              text PRIMARY KEY,
  malignancy_probability double precision,
  triage                 text,
  read_by                text  -- the pathologist who read the sample; Fieldline never writes it
);
