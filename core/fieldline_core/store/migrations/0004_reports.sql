-- Reports: what people did with a record, by its keyed hash. Only events that name records are in these indexes: those of the work
-- itself, of which there are most, name none.
CREATE INDEX log_entry_record ON log_entry (tenant_id, (leaf::jsonb -> 'detail' ->> 'key_hash'))
    WHERE event <> 'decisions.recorded' AND event <> 'receipts.recorded' AND leaf::jsonb -> 'detail' ? 'key_hash';
CREATE INDEX log_entry_records ON log_entry USING gin ((leaf::jsonb -> 'detail' -> 'key_hashes')) WHERE event = 'decision.viewed';
