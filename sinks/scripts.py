"""The SQL files of this software: migrations of the tables, views, and roles."""

import re
from graphlib import TopologicalSorter
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from schemas.errors import ConfigError
from sinks.lookups import CUSTOMER_VIEWS, make_customer_view
from sinks.rights.masks import make_analyst_grants

TABLES = Path(__file__).parent / "tables"
VIEWS = Path(__file__).parent / "views"
ROLES = Path(__file__).parent / "rights" / "roles.sql"


class Script(NamedTuple):
    """One SQL file: `table/0001_change` for a migration, or the name of a view."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Return the SHA-256 of the file, hexadecimal."""
        return sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """Return the statements of the file; each ends with a semicolon at the end of a line."""
        return [part.strip() for part in re.split(r";\s*$", self.sql, flags=re.MULTILINE) if part.strip()]


def load_migrations(folder: Path = TABLES) -> list[Script]:
    """Return the migrations of all tables by table and number. Raises ConfigError for a gap in the numbers."""
    found = []
    for table in sorted(path.parent for path in folder.glob("*/migrations")):
        files = sorted((table / "migrations").glob("*.sql"))
        for number, path in enumerate(files, start=1):
            if not re.fullmatch(rf"{number:04d}_[a-z0-9_]+", path.stem):
                raise ConfigError(f"{table.name}/migrations/{path.name} must be named {number:04d}_<change>.sql")
            found.append(Script(f"{table.name}/{path.stem}", path.read_text(encoding="utf-8")))
    return found


def load_views(folder: Path = VIEWS) -> list[Script]:
    """Return the views and those of one customer, each after the views that it reads, always in the same order."""
    found = {path.stem: Script(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))}
    texts = {name: script.statements[0] for name, script in found.items()}
    found |= {f"{name}_of": Script(f"{name}_of", make_customer_view(name, texts)) for name in CUSTOMER_VIEWS if name in texts}
    reads = {name: sorted({*re.findall(r"touchline\.(\w+)", script.sql)} - {name}) for name, script in found.items()}
    return [found[name] for name in TopologicalSorter(reads).static_order()]


def role_statements() -> list[str]:
    """Return the statements of roles and rights, with the grants that follow from the views."""
    grants = [f"{grant} TO touchline_analyst" for grant in make_analyst_grants(view_statements())]
    return [*Script("roles", ROLES.read_text(encoding="utf-8")).statements, *grants]


def view_statements() -> list[str]:
    """Return the statement of each view as it is written in its file or made from another."""
    return [statement for view in load_views() for statement in view.statements]
