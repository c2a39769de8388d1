"""The same statements for a cluster: every server gets them, rows are replicated in their shard and read across shards. Pure.

`touchline_shard.<table>` holds a shard's rows, replicated by Keeper; `touchline_store.<table>` is a Distributed table over it, so
sinks, materialized views and views name the same tables as on one server. Rows go to shards by the sort key that their table was
created with: copies of a row always meet on the same shard, where `FINAL` makes them one. A plain MergeTree is not replicated:
each server makes it anew from the rows of its shard, with the merges of all. Every server needs the macros `shard` and `replica`.
"""

import re

HEAD = re.compile(
    r"(?:CREATE|ALTER)(?: OR REPLACE)? (?:DATABASE|TABLE|VIEW|MATERIALIZED VIEW|DICTIONARY|USER|ROLE|SETTINGS PROFILE)"
    r"(?: IF NOT EXISTS)? [\w.]+|GRANT|REVOKE"
)
ENGINE = re.compile(r"ENGINE = (Replacing\w*)")
ANEW = re.compile(r"^REFRESH ", re.MULTILINE)
OF_THE_SHARD = re.compile(r"touchline_store\.(?!merges\b)")
OF_A_SERVER = re.compile(r"system\.view_refreshes\b")
TABLE = re.compile(r"(?:CREATE TABLE IF NOT EXISTS|ALTER TABLE) touchline_store\.(\w+)")
SORTED = re.compile(r"^ORDER BY (\w+|\(.+\))$", re.MULTILINE)
CLAUSES = re.compile(
    r",?\s+(?=(?:ADD|DROP|MODIFY|COMMENT|RENAME|CLEAR) (?:COLUMN|INDEX|ORDER|TTL|SETTING|PROJECTION|CONSTRAINT)\b)"
)
SHARD = "CREATE DATABASE IF NOT EXISTS touchline_shard COMMENT 'Rows of this shard; read and written through touchline_store'"


def everywhere(statement: str, cluster: str) -> str:
    """A statement for every server of the cluster; one that moves rows runs once, on Distributed tables, and stays as it is."""
    return re.sub(rf"\A({HEAD.pattern})", rf"\1 ON CLUSTER {cluster}", statement)


def shared(history: str, cluster: str) -> str:
    """The table of applied migrations: the same rows on every server."""
    return everywhere(ENGINE.sub(r"ENGINE = Replicated\1('/touchline/migrations', '{shard}-{replica}')", history), cluster)


def sharded(statement: str, cluster: str) -> list[str]:
    """A statement of a migration: one about a table becomes one about the rows and one about the Distributed table.

    A table that is made anew, whole, is made by each server from the rows of its shard.
    """
    if ANEW.search(statement):
        head, rows = statement.split("\n", 1)
        return [everywhere(f"{head}\n{OF_THE_SHARD.sub('touchline_shard.', rows)}", cluster)]
    table = TABLE.match(statement)
    if table is None:
        return [everywhere(statement, cluster)]
    rows = statement.replace("touchline_store.", "touchline_shard.", 1)
    rows = ENGINE.sub(r"ENGINE = Replicated\1", rows).replace("non_replicated_deduplication", "replicated_deduplication")
    whole = [_distributed(table[1], rows, cluster)] if statement.startswith("CREATE") else _columns(statement)
    return [everywhere(each, cluster) for each in (rows, *whole)]


def across(view: str, cluster: str) -> str:
    """A view: what it looks up in other tables is looked up in all shards, and what servers know of themselves on all servers."""
    view = OF_A_SERVER.sub(rf"clusterAllReplicas({cluster}, \g<0>)", view)
    body, before, comment = view.rpartition("\nCOMMENT ")
    more = "," if "\nSETTINGS " in body.rpartition("\n)")[2] else "\nSETTINGS"
    settings = f"{more} distributed_product_mode = 'global'"
    return everywhere(f"{body}{settings}{before}{comment}" if before else f"{view}{settings}", cluster)


def _distributed(name: str, rows: str, cluster: str) -> str:
    key = SORTED.findall(rows)[0]
    hashed = f"sipHash64{key}" if key.startswith("(") else f"sipHash64({key})"
    return (
        f"CREATE TABLE IF NOT EXISTS touchline_store.{name} AS touchline_shard.{name}\n"
        f"ENGINE = Distributed({cluster}, touchline_shard, {name}, {hashed})"
    )


def _columns(statement: str) -> list[str]:
    """What a Distributed table follows of an ALTER: its columns, not their order on disk."""
    head, *clauses = CLAUSES.split(statement)
    columns = [clause for clause in clauses if " COLUMN " in clause.partition("\n")[0]]
    return [f"{head}\n    " + ",\n    ".join(columns)] if columns else []
