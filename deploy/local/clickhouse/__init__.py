"""ClickHouse: the `clickhouse` program of this machine, else the same engine as a library from npm."""
