"""The verbs of the pipeline: accept, read, enrich, score, write; and what people do to flows, runs and dead letters."""
