"""The secret of the installation, and the ids of identifiers that it keys."""

import re
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.records.identifiers import identifier_id
from schemas.service.secret import SECRET, SECRET_FILE, fingerprint, load_secret

OWN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECRET, raising=False)
    monkeypatch.delenv(SECRET_FILE, raising=False)


def test_missing_secret_names_both_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, "")
    with pytest.raises(ConfigError, match=f"{SECRET} or {SECRET_FILE}"):
        load_secret()


def test_value_counts_before_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("another secret of enough characters\n")
    monkeypatch.setenv(SECRET_FILE, str(tmp_path / "secret"))
    assert load_secret() == b"another secret of enough characters"
    monkeypatch.setenv(SECRET, OWN)
    assert load_secret() == OWN.encode()


@pytest.mark.parametrize("text", ["", "short", OWN[:-1], "x" * 65, " " * 40])
def test_secret_of_a_wrong_length_is_not_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    monkeypatch.setenv(SECRET_FILE, str(tmp_path / "secret"))
    with pytest.raises(ConfigError, match=SECRET_FILE) as raised:
        load_secret()
    assert raised.value.exit_code == 2
    assert not text.strip() or text not in str(raised.value)


def test_unreadable_secret_file_names_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SECRET_FILE, str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match=SECRET_FILE):
        load_secret()
    (tmp_path / "binary").write_bytes(b"\xff" * 32)
    monkeypatch.setenv(SECRET_FILE, str(tmp_path / "binary"))
    with pytest.raises(ConfigError, match=SECRET_FILE):
        load_secret()


def test_identifier_id_depends_on_secret_kind_and_value() -> None:
    ids = {
        identifier_id(secret, kind, value)
        for secret in (OWN.encode(), OWN[::-1].encode())
        for kind, value in (("email", "ann@example.com"), ("phone", "ann@example.com"), ("email", "bob@example.com"))
    }
    assert len(ids) == 6
    assert {len(each) for each in ids} == {16}
    assert identifier_id(OWN.encode(), "email", "ann@example.com").hex() == "99d3222b055d1df696f9a630c206a9b1"


def test_fingerprints_differ_and_contain_no_part_of_the_secret() -> None:
    secrets = [OWN.encode(), OWN[::-1].encode(), b"another secret of enough characters"]
    found = {fingerprint(secret) for secret in secrets}
    assert len(found) == 3
    assert all(re.fullmatch(r"[0-9a-f]{8}", each) for each in found)
    assert fingerprint(OWN.encode()) not in OWN
    assert fingerprint(OWN.encode()) != identifier_id(OWN.encode(), "", "").hex()[:8]
