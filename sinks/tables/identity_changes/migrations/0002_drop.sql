DROP TABLE IF EXISTS touchline_store.identity_changes;
