"""Ports of a stack."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import ports
from deploy.local.ports import FREE_PORTS, Ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def every_port_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_is_bindable", lambda _: True)


@pytest.mark.usefixtures("every_port_free")
def test_standard_ports_are_taken_when_free() -> None:
    assert ports.choose(None) == Ports(kafka=9092, kafka_controller=9093, clickhouse=9000, clickhouse_http=8123)


@pytest.mark.usefixtures("every_port_free")
def test_former_ports_come_before_standard_ones() -> None:
    former = Ports(kafka=19092, clickhouse_http=18123)
    assert ports.choose(former) == former


@pytest.mark.usefixtures("every_port_free")
def test_no_port_is_chosen_twice() -> None:
    chosen = ports.choose(Ports(kafka=9000, kafka_controller=9000, clickhouse=9000, clickhouse_http=9000))
    assert len(set(chosen.model_dump().values())) == 4


def test_taken_port_is_replaced_by_one_below_the_outgoing_range(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ports._is_bindable
    monkeypatch.setattr(ports, "_is_bindable", lambda port: port not in range(9000, 9094) and asked(port))
    assert ports.choose(Ports(kafka=taken)).kafka in FREE_PORTS


def test_port_in_use_is_not_bindable(taken: int) -> None:
    assert not ports._is_bindable(taken)


@pytest.mark.parametrize("content", [b"", b"{", b'{"kafka": "high"}', b"\xff\xfe"])
def test_damaged_ports_file_is_no_ports(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ports.json").write_bytes(content)
    assert ports.read(tmp_path / "ports.json") is None


def test_ports_file_is_read_back(tmp_path: Path) -> None:
    chosen = Ports(kafka=19092)
    (tmp_path / "ports.json").write_text(chosen.model_dump_json())
    assert ports.read(tmp_path / "ports.json") == chosen
