"""ClickHouse: the `clickhouse` program where there is one, else the same engine as a library from npm."""
