ALTER TABLE touchline_store.dead_letters
    ADD COLUMN IF NOT EXISTS key Nullable(String) COMMENT 'Kafka key of the record, at most 64 KiB; personal data' CODEC(ZSTD)
        AFTER software,
    ADD COLUMN IF NOT EXISTS replays UInt32 COMMENT 'how many times the record had been sent again when it was refused'
        AFTER key,
    MODIFY ORDER BY (letter_id, replays);
ALTER TABLE touchline_store.dead_letters
    COMMENT COLUMN connector 'connector that read it, empty where unknown';
