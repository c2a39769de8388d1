ALTER TABLE touchline_store.erasure_proofs
    COMMENT COLUMN deleted 'number of rows that the last run of the command deleted, by table';
