ALTER TABLE touchline_store.connector_state
    ADD COLUMN IF NOT EXISTS backfill_difference Nullable(Int64)
        COMMENT 'what the source counted in the window of a backfill minus what was read there, in records; NULL: not counted'
        AFTER last_success_at;
