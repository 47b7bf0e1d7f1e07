-- Subscriptions: what their messages have said last, and that a run is still to read what was missed.

ALTER TABLE feed
    -- By subscription, the number of its newest event that is stored, or will be read.
    ADD COLUMN told      jsonb,
    ADD COLUMN missed_at timestamptz;
