"""Probes and metrics of a process over HTTP, also while its event loop is blocked."""

import asyncio
import threading
import time

from schemas.service.health import BEAT_SECONDS, Heartbeat, serve_probes
from tests.harness.http_pages import read_page


def ask(port: int, page: str) -> tuple[int, str]:
    return read_page(f"http://127.0.0.1:{port}/{page}")


def test_page_is_200_or_503_with_reason() -> None:
    wrong = {"live": "", "ready": ""}
    port = serve_probes(0, lambda: wrong["live"], lambda: wrong["ready"])
    assert ask(port, "live") == ask(port, "ready") == (200, "ok\n")
    wrong["ready"] = "8 partitions are being recovered"
    assert ask(port, "live") == (200, "ok\n")
    assert ask(port, "ready") == (503, "8 partitions are being recovered\n")
    assert "process_cpu_seconds_total" in ask(port, "metrics")[1]


def test_blocked_loop_is_reported_while_it_is_blocked() -> None:
    heartbeat = Heartbeat()
    port = serve_probes(0, lambda: "stuck" if heartbeat.lag() > 0.7 else "", lambda: "")
    answers: list[tuple[int, str]] = []

    def ask_meanwhile() -> None:
        time.sleep(1.0 + BEAT_SECONDS)
        answers.append(ask(port, "live"))

    async def block_loop() -> None:
        beating = asyncio.create_task(heartbeat.run())
        await asyncio.sleep(0.05)
        asker = threading.Thread(target=ask_meanwhile)
        asker.start()
        time.sleep(2.0 + BEAT_SECONDS)  # noqa: ASYNC251 - the test blocks the loop on purpose
        asker.join()
        await asyncio.sleep(2 * BEAT_SECONDS)
        answers.append(ask(port, "live"))
        beating.cancel()

    asyncio.run(block_loop())
    assert answers == [(503, "stuck\n"), (200, "ok\n")]


def test_lag_of_half_a_minute_is_not_live() -> None:
    heartbeat = Heartbeat()
    heartbeat._beat -= 40
    assert heartbeat.lag() == 0, "a loop that has not started has no lag"
    assert heartbeat.check_live() == ""
    heartbeat.beats = 1
    assert heartbeat.check_live() == "the event loop has been blocked for 40 s: restart this process"
