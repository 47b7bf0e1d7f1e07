-- Whether an attempt at a write may have arrived though nothing was heard of it: how a later attempt ends says nothing of that one.
ALTER TABLE effect ADD unclear boolean NOT NULL DEFAULT false;

-- Of those that are tried at this moment nobody has kept how their attempts ended.
UPDATE effect SET unclear = true WHERE fence > 0 AND state IN ('intended', 'submitted', 'unknown');

-- Whether a chunk is for one write only is asked of chunks that are known by their id: nothing is looked for by it.
DROP INDEX chunk_replay;
