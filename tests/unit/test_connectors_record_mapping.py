"""Record mapping: the error of a wrong `mapping.yaml` is one line with the file and the entry."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.contract import Record, RejectedRecord
from connectors.mapping.record_mapping import load_mappings
from schemas.errors import ConfigError

WHOLE = """claims:
  source: support
  system: desk
  columns: [id, changed, mail]
  key: id(id)
  version: changed
  map:
    type: "'ticket.opened'"
    channel: "'web'"
    occurred_at: iso(changed, 'UTC')
    identifiers: {email: email(mail)}
"""


def test_mapping_file_defines_its_streams(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(WHOLE)
    assert list(load_mappings(path, "c")) == ["claims"]


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("source: support", "source: desk", "/mapping.yaml: claims: source: must be one of crm, erp"),
        ("  key: id(id)\n", "", "/mapping.yaml: claims: key: is required"),
        (
            "columns:",
            "fields:",
            "fields: is not a setting; settings are region, programme, placeholders, verified, source, system, columns",
        ),
        ("key: id(id)", "key: id(no)", "/mapping.yaml: claims.key: reads column no, which `columns` does not list"),
        ("email(mail)", "email(post)", "/mapping.yaml: claims.map.identifiers.email: reads column post"),
        ("key: id(id)", "key: 5", "claims: key: must be a text: put it into quotes"),
        ("version: changed", "version: lookup(id, `{a: 1}`)", "not valid YAML at line 6: does a value need quotes?"),
        (WHOLE, "claims:\n", "/mapping.yaml: claims: must hold `name: value` lines"),
        (WHOLE, "", "mapping.yaml must hold `name: value` lines"),
    ],
)
def test_error_in_a_mapping_file_is_one_line_with_its_entry(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in WHOLE
    path = tmp_path / "mapping.yaml"
    path.write_text(WHOLE.replace(right, wrong))
    with pytest.raises(ConfigError) as raised:
        load_mappings(path, "c")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_fifty_unknown_fields_are_kept_and_the_log_stays_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(WHOLE)
    claims = load_mappings(path, "c")["claims"]
    item = {"id": 1, "changed": "2026-01-01T00:00:00Z", "mail": "ann@example.org"} | {f"x{number:03}": 1 for number in range(300)}
    record = claims.create_record(item, datetime(2026, 2, 1, tzinfo=UTC))
    assert isinstance(record, Record)
    assert list(claims.map_record(record).attributes) == [f"x{number:03}" for number in range(50)]
    assert len(caplog.records) == 100


@pytest.mark.parametrize("field", ["key", "version", "time", "deleted"])
def test_failing_expression_of_any_entry_rejects_one_item_and_not_the_page(tmp_path: Path, field: str) -> None:
    path = tmp_path / "mapping.yaml"
    entries = {"key": "id(id)", "version": "changed", field: "starts_with(mail, 'a')"}
    head = "".join(f'  {name}: "{text}"\n' for name, text in entries.items())
    path.write_text(WHOLE.replace("  key: id(id)\n  version: changed\n", head))
    items = [{"id": 1, "changed": "2026-01-01T00:00:00Z", "mail": mail} for mail in (None, "ann@example.org")]
    first, second = load_mappings(path, "c")["claims"].create_records(items, datetime(2026, 2, 1, tzinfo=UTC))
    assert isinstance(first, RejectedRecord)
    assert first.error.detail.startswith(f"field {field}: starts_with() expects")
    assert field == "time" or isinstance(second, Record)


def test_missing_mapping_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*mapping\.yaml: No such file"):
        load_mappings(tmp_path / "mapping.yaml", "c")
