"""Key sets that find deleted rows, and invalid settings of the sql connector."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from connectors.http.key_set import build_key_set, unpack_key_set
from connectors.settings import open_connector
from connectors.sql.connector import Connector
from schemas.errors import ConfigError

KEYS = st.sets(st.integers(-40, 40) | st.integers() | st.text(max_size=3))
MINIMAL = Path(__file__).parents[2] / "connectors" / "sql" / "minimal.yaml"


def in_order(keys: set[Any]) -> list[Any]:
    return [*sorted(key for key in keys if isinstance(key, int)), *sorted(key for key in keys if isinstance(key, str))]


@given(KEYS, KEYS)
def test_missing_keys_are_set_difference_and_survive_packing(before: set[Any], after: set[Any]) -> None:
    packed = build_key_set(in_order(before)).pack()
    assert packed is not None
    found = unpack_key_set(packed)
    assert list(found.difference(build_key_set([]))) == in_order(before)
    assert list(found.difference(build_key_set(in_order(after)))) == in_order(before - after)
    assert list(found.remove(in_order(before & after)).difference(build_key_set([]))) == in_order(before - after)


def test_million_integers_with_gaps_fit_into_cursor_and_many_texts_do_not() -> None:
    packed = build_key_set(number for number in range(1_000_000) if number % 1_000).pack()
    assert packed is not None
    assert len(json.dumps({"keys": packed})) < 10_000
    assert build_key_set(f"{number * 7_919_993 % 999_983:x}-{number:x}" for number in range(20_000)).pack() is None


def test_empty_key_set_has_no_missing_keys() -> None:
    packed = build_key_set([]).pack()
    assert packed is not None
    assert list(unpack_key_set(packed).difference(build_key_set([1]))) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wait_for_transactions": False}, "late_seconds"),
        ({"url": "postgresql://touchline:secret@db/shop"}, "password does not belong"),
        ({"url": "postgresql://touchline@db/shop?password=secret"}, "password does not belong"),
        ({"url": "mariadb://touchline@db/shop?sslmode=require"}, "sslmode: unknown parameter, expected ssl_ca"),
        ({"url": "postgresql://touchline@db/shop?sslmod=require"}, "url: invalid URI query parameter"),
        ({"url": "mariadb://touchline@db:33o6/shop"}, "must look like postgresql"),
        ({"url": "oracle://touchline@db/shop"}, "must look like postgresql"),
        ({"url": "postgresql://db/shop"}, "must look like postgresql"),
    ],
)
def test_invalid_settings_are_rejected_with_setting_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("TOUCHLINE_SHOP_PASSWORD", "secret")
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(MINIMAL.read_text()), **change}))
    with pytest.raises(ConfigError, match=message) as error:
        open_connector("sql", path, {})
    assert "touchline:secret" not in str(error.value)


def test_too_many_keys_for_cursor_are_config_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOUCHLINE_SHOP_EU_PASSWORD", "secret")
    connector = open_connector("sql", MINIMAL.with_name("full.yaml"), {})
    assert isinstance(connector, Connector)
    words = [f"{number * 7_919_993 % 999_983:x}-{number:x}" for number in range(20_000)]
    monkeypatch.setattr(connector.database, "fetch_keys", lambda table: iter(words))
    monkeypatch.setattr(
        connector.database, "query", lambda sql: iter([{"now": "2026-01-01 00:00:00", "settled": "2026-01-01 00:00:00"}])
    )
    with pytest.raises(ConfigError, match="mark deletes in a column"):
        list(connector.read("customers.gone", None))
