-- Undo: runs that put back what was written; each of their chunks takes back the writes of an earlier one.

ALTER TABLE run DROP CONSTRAINT run_kind_check;
ALTER TABLE run ADD CONSTRAINT run_kind_check CHECK (kind IN ('batch', 'events', 'replay', 'undo'));

-- The chunk whose writes are put back: what the target answers to that is evidence of its decisions.
ALTER TABLE chunk ADD undo_of bigint;
CREATE INDEX chunk_undo ON chunk (undo_of) WHERE undo_of IS NOT NULL;
