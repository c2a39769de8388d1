"""The server: the one place here that meets HTTP. It answers 2xx only when everything in the request is acknowledged.

| answer            | when |
|-------------------|------|
| 200               | every event is in Kafka, as a touchpoint or as a dead letter |
| 400               | the body is not what the protocol says; it is kept as a dead letter where the key was right |
| 401, 404, 405     | no key, no such path, no such method; nothing is kept |
| 413               | the body, unpacked, is larger than `most_body` |
| 408               | the body did not come within `answer_seconds` |
| 429 + Retry-After | the key's quota is used up |
| 503 + Retry-After | too much is waiting, Kafka does not acknowledge in time, or the intake stops: send it again |
"""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import ClientPayloadError, web

from connectors.intake.admission import Admitted, Gate, RejectedError
from connectors.intake.inbox import Inbox
from connectors.intake.request import Request
from connectors.intake.settings import IntakeSettings
from schemas.errors import ConfigError
from schemas.service.telemetry import CONNECTOR_ANSWERS

LONGEST_LINE = 65_536
HEAD = 1_024
ALLOWED = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, SP-Anonymous",
    "Access-Control-Allow-Credentials": "true",  # Snowplow's tracker for browsers asks for it; no cookie is read here
}


class Server:
    """One listening socket with an event loop in a thread of its own. With `keep` false, everything is answered with 503."""

    def __init__(self, settings: IntakeSettings, gate: Gate, inbox: Inbox, *, keep: bool) -> None:
        self._settings, self._gate, self._inbox, self._keep = settings, gate, inbox, keep
        self._loop = asyncio.new_event_loop()
        self._stopping: asyncio.Future[None] = self._loop.create_future()
        self._started = threading.Event()
        self._failure: OSError | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Begin to listen. Raises ConfigError where the address is taken or not ours."""
        self._thread.start()
        self._started.wait()
        if self._failure:
            where = f"{self._settings.host}:{self._settings.port}"
            raise ConfigError(f"cannot listen at {where} ({self._failure.strerror}): set another host or port")

    def stop(self) -> None:
        """Tell whoever still waits to send again, and close."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set_result, None)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        application = web.Application(client_max_size=self._settings.most_body)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, access_log=None, max_line_size=LONGEST_LINE, shutdown_timeout=1, keepalive_timeout=75)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._settings.host, self._settings.port, backlog=1_024)
            await site.start()
            self.port = runner.addresses[0][1]
            self._started.set()
            await self._stopping
        except OSError as error:
            self._failure = error
        finally:
            self._started.set()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        CONNECTOR_ANSWERS.labels(self._settings.name, answer.status).inc()
        return answer

    async def _answer(self, request: web.Request) -> web.Response:
        headers = self._headers(request)
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=headers)
        try:
            admitted = await self._received(request)
        except RejectedError as error:
            if error.retry_after:
                headers["Retry-After"] = str(error.retry_after)
            return web.Response(status=error.status, text=f"{error}\n", headers=headers)
        return web.Response(status=admitted.status, body=admitted.body, content_type=admitted.media, headers=headers)

    def _headers(self, request: web.Request) -> dict[str, str]:
        """Who answers, and what a browser asks for before it lets a page of another origin send."""
        origin = request.headers.get("Origin")
        told = {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **ALLOWED} if origin in self._settings.origins else {}
        return {"Server": "touchline", **told}

    async def _received(self, request: web.Request) -> Admitted:
        """Read the request, let its events wait, and return when they are kept. Raises RejectedError."""
        packed = "Content-Encoding" in request.headers or request.content_length is None
        body = self._settings.most_body if packed and request.can_read_body else request.content_length or 0
        if body > self._settings.most_body:
            raise self._too_large()
        size = HEAD + len(request.path_qs) + body
        if not self._inbox.reserve(size):
            raise self._busy("too much is waiting")
        kept: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        try:
            admitted = self._gate.admit(await self._read(request))
            delivery = None
            if admitted.records:
                delivery = self._inbox.put(admitted.stream, admitted.records, size, self._teller(kept))
        except BaseException:
            self._inbox.release(size)
            raise
        if delivery is None:
            self._inbox.release(size)
        elif not await self._kept(kept):
            delivery.late = True
            raise self._busy("it could not be kept")
        if not self._keep:
            raise self._busy("this is a preview, nothing is kept")
        return admitted

    async def _kept(self, kept: asyncio.Future[bool]) -> bool:
        waiting = asyncio.wait((kept, self._stopping), timeout=self._settings.answer_seconds, return_when=asyncio.FIRST_COMPLETED)
        await waiting
        return kept.done() and kept.result()

    def _teller(self, kept: asyncio.Future[bool]) -> Callable[[bool], None]:
        """What the runner's thread calls with the outcome; by then nobody may be waiting for it any more."""

        def tell(outcome: bool) -> None:  # noqa: FBT001 - the one thing to tell
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(kept.set_result, outcome)

        return tell

    def _busy(self, why: str) -> RejectedError:
        return RejectedError(503, f"{why}: send it again", self._settings.retry_seconds)

    def _too_large(self) -> RejectedError:
        return RejectedError(413, f"a request may have {self._settings.most_body:,} bytes")

    async def _read(self, request: web.Request) -> Request:
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                body = await request.read()
        except TimeoutError:
            raise RejectedError(408, "the body did not come in time") from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except (web.RequestPayloadError, ClientPayloadError, ConnectionError):
            raise RejectedError(400, "the body is cut short or not packed as its header says") from None
        return Request(
            request.method, request.rel_url.raw_path, request.rel_url.raw_query_string, request.headers, body, datetime.now(UTC)
        )
