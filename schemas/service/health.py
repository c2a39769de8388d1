"""Health probes and metrics over HTTP, served by a thread of its own, so that a blocked event loop does not silence them.

`/metrics` is the page for Prometheus. `/live` and `/ready` answer 200, or 503 with a line that gives the reason. Restart a
process that is not live for some minutes. A process that is not ready is still starting.
"""

import asyncio
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from threading import Thread

from prometheus_client import REGISTRY, MetricsHandler

BEAT_SECONDS = 0.5
MAX_LAG_SECONDS = 30.0
Probe = Callable[[], str]


def always_ok() -> str:
    """Return no reason: the probe of a process that is healthy whenever it answers."""
    return ""


class Heartbeat:
    """Task of an event loop that measures the lag of the loop.

    One step over a chunk may block a healthy loop for some seconds, but never for `MAX_LAG_SECONDS`.
    """

    def __init__(self) -> None:
        self.beats = 0
        self._beat = time.monotonic()

    async def run(self) -> None:
        """Record the time every half second, until cancelled."""
        while True:
            self._beat = time.monotonic()
            self.beats += 1
            await asyncio.sleep(BEAT_SECONDS)

    def lag(self) -> float:
        """Return the lag of the loop in seconds, 0 before the first beat: the process waits for its services. Thread-safe."""
        return max(0.0, time.monotonic() - self._beat - BEAT_SECONDS) if self.beats else 0.0

    def check_live(self) -> str:
        """Return why the loop counts as stuck, or an empty text."""
        lag = self.lag()
        return "" if lag < MAX_LAG_SECONDS else f"the event loop has been blocked for {lag:.0f} s: restart this process"


def serve_probes(port: int, live: Probe, ready: Probe) -> int:
    """Serve metrics and probes on loopback and return the port; 0 picks a free one. A probe returns why not, or ""."""
    probes = {"/live": live, "/ready": ready}

    class Handler(MetricsHandler):
        """The page of Prometheus, and one page for each probe."""

        registry = REGISTRY

        def do_GET(self) -> None:  # noqa: N802 - http.server calls it so
            probe = probes.get(self.path)
            if probe is None:
                super().do_GET()
                return
            reason = probe()
            body = f"{reason or 'ok'}\n".encode()
            self.send_response(503 if reason else 200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_port)
