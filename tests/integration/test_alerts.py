"""Every alert folder: valid for the real promtool, its own test passes, its metrics are declared, its runbook is whole."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

import schemas.service.telemetry
from deploy.local.promtool import promtool
from deploy.prometheus.config import render
from tests.harness.waiting import eventually

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = sorted(path.parent for path in (DEPLOY / "alerts").glob("*/rule.yaml"))
pytestmark = pytest.mark.integration


def run(*arguments: str | Path, cwd: Path) -> None:
    done = subprocess.run([promtool(), *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("folder", ALERTS, ids=lambda folder: folder.name)
def test_alert_passes_its_own_test(folder: Path) -> None:
    run("check", "rules", "rule.yaml", cwd=folder)
    run("test", "rules", "test.yaml", cwd=folder)


@pytest.mark.parametrize("folder", ALERTS, ids=lambda folder: folder.name)
def test_alert_watches_declared_metrics_and_has_a_runbook(folder: Path) -> None:
    assert schemas.service.telemetry.RECORDS is not None
    declared = {family.name for family in prometheus_client.REGISTRY.collect()}
    (group,) = yaml.safe_load((folder / "rule.yaml").read_text())["groups"]
    for rule in group["rules"]:
        used = set(re.findall(r"\btouchline_\w+|\bup\b", rule["expr"]))
        assert used
        assert {re.sub("_(total|created)$", "", name) for name in used} <= declared | {"up"}
        assert rule["annotations"]["runbook"] == f"deploy/alerts/{folder.name}/runbook.md"
    runbook = (folder / "runbook.md").read_text()
    assert [line for line in runbook.splitlines() if line.startswith("## ")] == ["## What it means", "## Look", "## Fix"]


def test_alert_tests_also_say_when_to_stay_silent() -> None:
    for folder in ALERTS:
        tests = yaml.safe_load((folder / "test.yaml").read_text())["tests"]
        cases = [case for test in tests for case in test["alert_rule_test"]]
        assert any(not case.get("exp_alerts") for case in cases), folder.name


def quick_config(folder: Path) -> Path:
    """The rendered configuration with short intervals, and copies of the rules that wait for two seconds."""
    config = yaml.safe_load(render(folder / "targets"))
    for rule in map(Path, config["rule_files"]):
        (folder / f"{rule.parent.name}.yaml").write_text(re.sub(r"for: \d+[sm]", "for: 2s", rule.read_text()))
    config["rule_files"] = [str(folder / "*_*.yaml")]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["file_sd_configs"][0]["refresh_interval"] = "1s"
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextlib.contextmanager
def prometheus(config: Path) -> Iterator[str]:
    """The real Prometheus; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        str(promtool().with_name("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
    ]
    with subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL) as running:
        try:
            yield f"http://{address}"
        finally:
            running.terminate()


def firing(address: str) -> set[tuple[str, str]]:
    """Name and instance of the alerts that fire; an alert about no process has no instance."""
    alerts = fetch(f"{address}/api/v1/alerts")["alerts"]
    return {(each["labels"]["alertname"], each["labels"].get("instance", "")) for each in alerts if each["state"] == "firing"}


@pytest.mark.timeout(180)
def test_killed_worker_and_frozen_sink_raise_alerts(tmp_path: Path) -> None:
    roles = {"work": "NoWorker", "sink": "NoSink"}
    silent = {(alert, "") for alert in roles.values()} | {("ProcessDown", "only")}
    processes: list[subprocess.Popen[bytes]] = []
    served = "import time; from schemas.service.process import Process; Process({!r}, {!r}).serve(); time.sleep(170)"

    def serve(role: str, name: str) -> None:
        command = [sys.executable, "-c", served.format(role, name)]
        processes.append(subprocess.Popen(command, env={**os.environ, "TOUCHLINE_TARGETS": str(tmp_path / "targets")}))

    for role in roles:
        serve(role, "only")
    try:
        with prometheus(quick_config(tmp_path)) as address:
            wait_for(f"{address}/api/v1/query?query=count(up==1)==2")
            eventually(lambda: not firing(address) & silent, 20)
            processes[0].kill()
            processes[1].send_signal(signal.SIGSTOP)
            eventually(lambda: firing(address) >= silent, 30)
            processes[1].kill()
            serve("work", "other")
            eventually(lambda: ("NoWorker", "") not in firing(address), 20)
            assert ("ProcessDown", "only") in firing(address)  # another name does not replace the killed worker
            for role in roles:
                serve(role, "only")
            eventually(lambda: ("ProcessDown", "only") not in firing(address), 20)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_prometheus_scrapes_a_live_process_and_knows_every_alert(tmp_path: Path) -> None:
    """The real Prometheus, on the rendered configuration, with a process that serves our metrics."""
    targets = tmp_path / "targets"
    served = (
        "import time; from schemas.service.process import Process; from schemas.service.telemetry import RECORDS;"
        " RECORDS.labels('test', 'read').inc(7); Process('test', 'served').serve(); time.sleep(60)"
    )
    config = tmp_path / "prometheus.yml"
    config.write_text(render(targets))
    run("check", "config", str(config), cwd=tmp_path)
    port = free_port()
    command = [str(promtool().with_name("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (
        subprocess.Popen([sys.executable, "-c", served], env={**os.environ, "TOUCHLINE_TARGETS": str(targets)}) as process,
        subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL) as prometheus,
    ):
        try:
            found = wait_for(f"http://127.0.0.1:{port}/api/v1/query?query=touchline_records_total")
            rules = fetch(f"http://127.0.0.1:{port}/api/v1/rules")
        finally:
            process.kill()
            prometheus.terminate()
    assert (found[0]["metric"]["role"], found[0]["metric"]["instance"]) == ("test", "served")
    assert found[0]["value"][1] == "7"
    assert {group["name"] for group in rules["groups"]} == {folder.name for folder in ALERTS}


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)["data"]


def wait_for(url: str) -> Any:
    """The first non-empty answer within half a minute."""
    for _ in range(60):
        with contextlib.suppress(OSError):
            if found := fetch(url)["result"]:
                return found
        time.sleep(0.5)
    raise TimeoutError(url)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
