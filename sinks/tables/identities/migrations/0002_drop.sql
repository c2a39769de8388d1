DROP TABLE IF EXISTS touchline_store.identities;
