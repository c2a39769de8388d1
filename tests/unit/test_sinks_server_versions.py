"""Accepted server versions and the settings of inserts for each."""

import pytest

from schemas.errors import ConfigError
from sinks.server_versions import FIXED_SETTINGS, TOKEN, make_insert_settings

KNOWN = {TOKEN, "insert_deduplicate", "deduplicate_insert", *FIXED_SETTINGS}


@pytest.mark.parametrize(
    ("version", "switch"),
    [
        ("26.1.1.1", {"insert_deduplicate": 1}),
        ("26.2.1.1", {"deduplicate_insert": "enable"}),
        ("26.7.2.1", {"deduplicate_insert": "enable"}),
        ("26.12.1.1-stable", {"deduplicate_insert": "enable"}),
    ],
)
def test_accepted_version_gets_settings_of_synchronous_deduplicated_inserts(version: str, switch: dict[str, object]) -> None:
    settings = make_insert_settings(version, KNOWN, "ClickHouse at here:9000")
    always = {"async_insert": 0, "distributed_foreground_insert": 1, "deduplicate_blocks_in_dependent_materialized_views": 1}
    assert settings == {**switch, **always}


@pytest.mark.parametrize("version", ["18.16.1", "24.8.14.39", "25.12.11.4", "27.1.1.1", "", "stable"])
def test_unknown_version_is_refused_with_advice(version: str) -> None:
    with pytest.raises(
        ConfigError, match=r"ClickHouse at here:9000 has version .*: use a version from 26\.1 to 26\.12, or a newer"
    ):
        make_insert_settings(version, KNOWN, "ClickHouse at here:9000")


@pytest.mark.parametrize("missing", [TOKEN, "deduplicate_insert", "async_insert"])
def test_server_without_a_needed_setting_is_refused(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"lacks the setting {missing}, so it could store rows twice"):
        make_insert_settings("26.7.2.1", KNOWN - {missing}, "ClickHouse at here:9000")
