"""The same statements for a cluster: every server gets them, tables are replicated in their shard and read across shards. Pure.

`touchline_shard.<table>` holds a shard's rows, replicated by Keeper; `touchline_store.<table>` is a Distributed table over it, so
sinks and views name the same tables as on one server. Rows go to shards by the sort key that their table was created with: copies
of a row always meet on the same shard, where `FINAL` makes them one. Needs the macros `shard` and `replica` on every server.
"""

import re

HEAD = re.compile(
    r"((?:CREATE|ALTER)(?: OR REPLACE)? (?:DATABASE|TABLE|VIEW|MATERIALIZED VIEW|DICTIONARY|USER|ROLE|SETTINGS PROFILE)"
    r"(?: IF NOT EXISTS)? [\w.]+)"
)
TABLE = re.compile(r"(?:CREATE TABLE|ALTER TABLE|CREATE MATERIALIZED VIEW)\b")
STORED = re.compile(r"(?<!')\btouchline_store\.")
ENGINE = re.compile(r"ENGINE = (\w*MergeTree)\b")
CREATED = re.compile(r"CREATE TABLE IF NOT EXISTS touchline_store\.(\w+)\n.*^ORDER BY (\([^)]+\)|\w+)", re.DOTALL | re.MULTILINE)
ALTERED = re.compile(r"ALTER TABLE touchline_store\.(\w+)")
PREPARE = "CREATE DATABASE IF NOT EXISTS touchline_shard COMMENT 'Rows of this shard; read and written through touchline_store'"


def everywhere(statement: str, cluster: str) -> str:
    """A statement for every server of the cluster."""
    if statement.startswith(("GRANT ", "REVOKE ")):
        return re.sub(r"^(\w+)", rf"\1 ON CLUSTER {cluster}", statement)
    return HEAD.sub(rf"\1 ON CLUSTER {cluster}", statement, count=1)


def shared(history: str, cluster: str) -> str:
    """The table of applied migrations: one for all shards."""
    engine = r"ENGINE = Replicated\1('/touchline/migrations', '{shard}-{replica}')"
    return everywhere(ENGINE.sub(engine, history), cluster)


def sharded(statement: str, cluster: str) -> str:
    """A statement of a migration. One that moves rows runs once and names the Distributed tables."""
    if TABLE.match(statement):
        statement = ENGINE.sub(r"ENGINE = Replicated\1", STORED.sub("touchline_shard.", statement))
        statement = statement.replace("non_replicated_deduplication_window", "replicated_deduplication_window")
    return everywhere(statement, cluster)


def distributed(statements: list[str], keys: dict[str, str], cluster: str) -> list[str]:
    """The Distributed tables of those that a migration creates or alters; `keys` are the sort keys of all tables."""
    touched = {found[1] for statement in statements if (found := CREATED.match(statement) or ALTERED.match(statement))}
    return [
        f"CREATE OR REPLACE TABLE touchline_store.{name} ON CLUSTER {cluster} AS touchline_shard.{name}\n"
        f"ENGINE = Distributed({cluster}, touchline_shard, {name}, sipHash64({keys[name].strip('()')}))"
        for name in sorted(touched)
    ]


def sort_keys(statements: list[str]) -> dict[str, str]:
    """The sort key that each table was created with."""
    return {found[1]: found[2] for statement in statements if (found := CREATED.match(statement))}


def across(view: str, cluster: str) -> str:
    """A view: what it looks up in other tables is looked up in all shards."""
    body, found, comment = view.rpartition("\nCOMMENT ")
    body = f"{body if found else view}\nSETTINGS distributed_product_mode = 'global'"
    return everywhere(f"{body}{found}{comment}" if found else body, cluster)
