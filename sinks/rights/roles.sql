CREATE USER IF NOT EXISTS touchline_definer NOT IDENTIFIED HOST NONE;
CREATE ROLE IF NOT EXISTS touchline_analyst;
CREATE ROLE IF NOT EXISTS touchline_pii;
CREATE ROLE IF NOT EXISTS touchline_writer;
CREATE SETTINGS PROFILE IF NOT EXISTS touchline_analyst SETTINGS
    readonly = 2,
    max_memory_usage = 2000000000 MIN 1 MAX 2000000000,
    max_execution_time = 60 MIN 1 MAX 60,
    max_rows_to_read = 1000000000 MIN 1 MAX 1000000000,
    max_result_rows = 1000000 MIN 1 MAX 1000000,
    additional_table_filters CONST,
    parallel_replicas_custom_key CONST
    TO touchline_analyst;
GRANT SELECT ON touchline.* TO touchline_analyst;
REVOKE SELECT ON touchline_unmasked.* FROM touchline_analyst;
GRANT SELECT ON touchline_unmasked.* TO touchline_pii;
GRANT INSERT ON touchline_store.* TO touchline_writer;
GRANT INSERT ON touchline_shard.* TO touchline_writer;
GRANT SELECT ON touchline.refreshes TO touchline_writer;
GRANT SELECT(is_complete) ON touchline.revisions TO touchline_writer;
GRANT SELECT, INSERT, CREATE TABLE, DROP TABLE, dictGet ON touchline_store.* TO touchline_definer;
GRANT SELECT, INSERT, CREATE TABLE, DROP TABLE ON touchline_shard.* TO touchline_definer;
GRANT TABLE ENGINE ON MergeTree TO touchline_definer;
GRANT SELECT ON touchline.* TO touchline_definer;
GRANT SELECT ON system.view_refreshes TO touchline_definer;
GRANT CREATE TEMPORARY TABLE ON *.* TO touchline_definer;
GRANT READ ON REMOTE TO touchline_definer;
GRANT SELECT ON touchline_unmasked.* TO touchline_definer;
GRANT touchline_pii TO touchline_definer;
