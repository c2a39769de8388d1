"""Whether a process is alive and ready, answered over HTTP beside its metrics, by a thread that no stuck loop can hold up.

`/metrics` is Prometheus's; `/live` and `/ready` answer 200, or 503 with one line that says why not. A process that is not
live for long should be started again; one that is not ready just has no work in hand yet.
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
    """The probe of a process that is alive or ready as soon as it answers."""
    return ""


class Heartbeat:
    """A task of an event loop that tells the time; what is missing until now is the loop's lag.

    A loop may be held up by one step over a chunk; longer than `MAX_LAG_SECONDS`, half a minute, no healthy one is.
    """

    def __init__(self) -> None:
        self.beats = 0
        self._beat = time.monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._beat = time.monotonic()
            self.beats += 1
            await asyncio.sleep(BEAT_SECONDS)

    def lag(self) -> float:
        """Seconds that the loop is late by; may be asked from any thread."""
        return max(0.0, time.monotonic() - self._beat - BEAT_SECONDS)

    def live(self) -> str:
        """Probe: the loop turns."""
        lag = self.lag()
        return "" if lag < MAX_LAG_SECONDS else f"the event loop stands still for {lag:.0f} s: start this process again"


def serve_probes(port: int, live: Probe, ready: Probe) -> int:
    """Answer on loopback, at `port` or, for 0, at any free one; returns the port. A probe says why not, or nothing."""
    probes = {"/live": live, "/ready": ready}

    class Handler(MetricsHandler):
        """Prometheus's own page, and one for each probe."""

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
