"""The cluster form of statements: each server gets them, rows are replicated within a shard and read from all shards. Pure.

`touchline_shard.<table>` holds the rows of a shard, replicated by Keeper. `touchline_store.<table>` is a Distributed table over
it, so sinks, materialized views and views name the same tables as on one server. The sort key with which a table was created
decides the shard of a row: all copies of a row reach the same shard, where `FINAL` removes them. A plain MergeTree is not
replicated: each server rebuilds it from the rows of its shard, with the routes and revisions of all shards. Each server needs
the macros `shard` and `replica`.
"""

import re

STATEMENT_HEAD = re.compile(
    r"(?:CREATE|ALTER|DROP)(?: OR REPLACE)? (?:DATABASE|TABLE|VIEW|MATERIALIZED VIEW|DICTIONARY|USER|ROLE|SETTINGS PROFILE)"
    r"(?: IF (?:NOT )?EXISTS)? [\w.]+|GRANT|REVOKE"
)
ENGINE = re.compile(r"ENGINE = (Replacing\w*)")
REFRESHED = re.compile(r"^REFRESH ", re.MULTILINE)
SHARD_TABLE = re.compile(r"touchline_store\.(?!merges\b|current_customers\b|first_versions\b)")
SERVER_TABLE = re.compile(r"system\.view_refreshes\b")
TABLE = re.compile(r"(?:CREATE TABLE IF NOT EXISTS|ALTER TABLE|DROP TABLE IF EXISTS) touchline_store\.(\w+)")
ORDER_BY = re.compile(r"^ORDER BY (\w+|\(.+\))$", re.MULTILINE)
CLAUSES = re.compile(
    r",?\s+(?=(?:ADD|DROP|MODIFY|COMMENT|RENAME|CLEAR) (?:COLUMN|INDEX|ORDER|TTL|SETTING|PROJECTION|CONSTRAINT)\b)"
)
SHARD = "CREATE DATABASE IF NOT EXISTS touchline_shard COMMENT 'Rows of this shard; read and written through touchline_store'"


def add_cluster(statement: str, cluster: str) -> str:
    """Return a statement for all servers of the cluster. One that moves rows runs once, unchanged."""
    return re.sub(rf"\A({STATEMENT_HEAD.pattern})", rf"\1 ON CLUSTER {cluster}", statement)


def replicate_history(history: str, cluster: str) -> str:
    """Return the statement of the table of applied migrations, which has the same rows on all servers."""
    return add_cluster(ENGINE.sub(r"ENGINE = Replicated\1('/touchline/migrations', '{shard}-{replica}')", history), cluster)


def split_for_shards(statement: str, cluster: str) -> list[str]:
    """Return the statements of a migration's statement: one for the rows of a shard and one for the Distributed table.

    A table that a view rebuilds is rebuilt by each server from the rows of its shard. A view in a migration reads all shards.
    """
    if statement.startswith("CREATE OR REPLACE VIEW"):
        return [read_all_shards(statement, cluster)]
    if REFRESHED.search(statement):
        head, rows = statement.split("\n", 1)
        return [add_cluster(f"{head}\n{SHARD_TABLE.sub('touchline_shard.', rows)}", cluster)]
    table = TABLE.match(statement)
    if table is None or " MODIFY QUERY\n" in statement:
        return [add_cluster(statement, cluster)]
    rows = statement.replace("touchline_store.", "touchline_shard.", 1)
    rows = ENGINE.sub(r"ENGINE = Replicated\1", rows).replace("non_replicated_deduplication", "replicated_deduplication")
    if statement.startswith("DROP"):
        return [add_cluster(each, cluster) for each in (statement, rows)]
    whole = [_make_distributed_table(table[1], rows, cluster)] if statement.startswith("CREATE") else _columns(statement)
    return [add_cluster(each, cluster) for each in (rows, *whole)]


def read_all_shards(view: str, cluster: str) -> str:
    """Return a view that looks up other tables in all shards, and system tables on all servers."""
    view = SERVER_TABLE.sub(rf"clusterAllReplicas({cluster}, \g<0>)", view)
    body, before, comment = view.rpartition("\nCOMMENT ")
    more = "," if "\nSETTINGS " in body.rpartition("\n)")[2] else "\nSETTINGS"
    settings = f"{more} distributed_product_mode = 'global'"
    return add_cluster(f"{body}{settings}{before}{comment}" if before else f"{view}{settings}", cluster)


def _make_distributed_table(name: str, rows: str, cluster: str) -> str:
    key = ORDER_BY.findall(rows)[0]
    hashed = f"sipHash64{key}" if key.startswith("(") else f"sipHash64({key})"
    return (
        f"CREATE TABLE IF NOT EXISTS touchline_store.{name} AS touchline_shard.{name}\n"
        f"ENGINE = Distributed({cluster}, touchline_shard, {name}, {hashed})"
    )


def _columns(statement: str) -> list[str]:
    """Return the part of an ALTER that a Distributed table needs: its columns, not their order on disk."""
    head, *clauses = CLAUSES.split(statement)
    columns = [clause for clause in clauses if " COLUMN " in clause.partition("\n")[0]]
    return [f"{head}\n    " + ",\n    ".join(columns)] if columns else []
