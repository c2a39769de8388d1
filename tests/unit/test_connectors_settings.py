"""Settings files of connectors: errors, names and secrets; discovery of connectors."""

import json
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from connectors.settings import list_connectors, open_connector
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: shop\n", "url: is required; secret: set the environment variable TOUCHLINE_SHOP_SECRET"),
        ("name: my-shop\nurl: http://x\nsecret: abc\n", "set TOUCHLINE_MY_SHOP_SECRET"),
        ("url: http://x\n", "name: is required; secret: set the environment variable TOUCHLINE_<NAME>_SECRET"),
        ("name: shop\nurl: http://x\npagesize: 3\n", "pagesize: is not a setting; settings are name, url, start"),
        ("name: shop\nurl: http://x\nstart: 2026-01-01 00:00\n", "start: needs a time zone, as in 2026-01-01T00:00:00Z"),
        (
            "name: my shop\nurl: http://x\n",
            "settings.yaml: name: may hold the letters a to z, digits, - and _, and must begin with",
        ),
        ("name: shop\nurl: 100\nsecret_too: 1\n", "url: must be a text: put it into quotes"),
        ("name: shop\nurl: [\n", "settings.yaml is not valid YAML at line 3"),
    ],
)
def test_error_of_settings_is_one_line_with_the_change_to_make(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        open_connector("example_reviews", path, {})
    assert message in str(raised.value)
    assert "abc" not in str(raised.value)
    assert "MY SHOP" not in str(raised.value)


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        (["sale"], "streams.0: Input should be 'sales', "),
        ([], "streams: must not be empty"),
    ],
)
def test_wrong_list_entry_is_reported_once(tmp_path: Path, streams: list[str], message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps({"name": "shop", "url": "http://x/db", "user": "reader", "streams": streams}))
    with patch.dict(os.environ, TOUCHLINE_SHOP_PASSWORD="secret"), pytest.raises(ConfigError) as raised:
        open_connector("tryton", path, {})
    assert str(raised.value).startswith(f"{path}: {message}")
    assert str(raised.value).count("streams") == 1


def test_wrong_entry_name_is_reported_with_the_naming_rule(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(json.dumps({"name": "shop", "endpoints": {"My App": {"protocol": "segment", "system": "app"}}}))
    with pytest.raises(ConfigError, match=r"settings.yaml: endpoints.My App: may hold the letters a to z, .*letter$"):
        open_connector("intake", path, {})


def test_secret_never_appears_in_repr_or_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_SHOP_SECRET", "do-not-show")
    path = tmp_path / "settings.yaml"
    path.write_text("name: shop\nurl: http://127.0.0.1:1\n")
    connector: Any = open_connector("example_reviews", path, {})
    assert connector.settings.secret.get_secret_value() == "do-not-show"
    assert "do-not-show" not in repr(connector.settings)
    assert "do-not-show" not in json.dumps(connector.settings.model_dump(mode="json"))


def test_folders_of_the_framework_are_no_connectors() -> None:
    assert not {"http", "mapping", "runtime"} & set(list_connectors())
    assert {"files", "example_reviews"} <= set(list_connectors())


def test_unknown_connector_is_refused_with_the_list_of_connectors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no connector runtime: choose one of bluesky, .*`touchline connectors`"):
        open_connector("runtime", tmp_path / "settings.yaml", {})
