"""HTTP server of the intake. It answers 2xx only after Kafka acknowledged every event of the request.

| answer            | when |
|-------------------|------|
| 200               | every event is in Kafka, as a touchpoint or as a dead letter |
| 400               | the body violates the protocol; with a valid key it becomes a dead letter |
| 401, 404, 405     | wrong key, unknown path, wrong method; nothing is stored |
| 413               | the decompressed body is larger than `max_body_bytes` |
| 408               | the body did not arrive within `answer_seconds` |
| 429 + Retry-After | the key's quota is used up |
| 503 + Retry-After | too many bytes wait, Kafka does not acknowledge in time, or the intake stops: send again |
"""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import ClientPayloadError, web

from connectors.intake.admission import Admission, AdmittedRequest, RejectedError
from connectors.intake.inbox import Inbox
from connectors.intake.request import Request
from connectors.intake.settings import IntakeSettings
from schemas.errors import ConfigError
from schemas.service.telemetry import CONNECTOR_ANSWERS

MAX_LINE_BYTES = 65_536
HEAD_BYTES = 1_024
ALLOWED = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, SP-Anonymous",
    "Access-Control-Allow-Credentials": "true",  # Snowplow's browser tracker requires it; the server reads no cookie
}


class Server:
    """One listening socket with an event loop in its own thread. With `acknowledge` false, it answers each request with 503."""

    def __init__(self, settings: IntakeSettings, admission: Admission, inbox: Inbox, *, acknowledge: bool) -> None:
        self._settings, self._admission, self._inbox, self._acknowledge = settings, admission, inbox, acknowledge
        self._loop = asyncio.new_event_loop()
        self._stopping: asyncio.Future[None] = self._loop.create_future()
        self._started = threading.Event()
        self._failure: OSError | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Start to listen. Raises ConfigError if the address is in use or not local."""
        self._thread.start()
        self._started.wait()
        if self._failure:
            where = f"{self._settings.host}:{self._settings.port}"
            raise ConfigError(f"cannot listen at {where} ({self._failure.strerror}): set another host or port")

    def stop(self) -> None:
        """Answer waiting requests with 503 and close."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set_result, None)
            self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        application = web.Application(client_max_size=self._settings.max_body_bytes)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(
            application, access_log=None, max_line_size=MAX_LINE_BYTES, shutdown_timeout=1, keepalive_timeout=75
        )
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
        response = await self._respond(request)
        CONNECTOR_ANSWERS.labels(self._settings.name, response.status).inc()
        return response

    async def _respond(self, request: web.Request) -> web.Response:
        headers = self._headers(request)
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=headers)
        try:
            admitted = await self._accept(request)
        except RejectedError as error:
            if error.retry_after:
                headers["Retry-After"] = str(error.retry_after)
            return web.Response(status=error.status, text=f"{error}\n", headers=headers)
        return web.Response(status=admitted.status, body=admitted.body, content_type=admitted.media, headers=headers)

    def _headers(self, request: web.Request) -> dict[str, str]:
        """Return the server's name and, for allowed origins, the headers that a browser requires for cross-origin requests."""
        origin = request.headers.get("Origin")
        allowed = {"Access-Control-Allow-Origin": origin, "Vary": "Origin", **ALLOWED} if origin in self._settings.origins else {}
        return {"Server": "touchline", **allowed}

    async def _accept(self, request: web.Request) -> AdmittedRequest:
        """Read the request, put its events into the inbox and wait for their acknowledgement. Raises RejectedError."""
        packed = "Content-Encoding" in request.headers or request.content_length is None
        body = self._settings.max_body_bytes if packed and request.can_read_body else request.content_length or 0
        if body > self._settings.max_body_bytes:
            raise self._too_large()
        size = HEAD_BYTES + len(request.path_qs) + body
        if not self._inbox.reserve(size):
            raise self._unavailable("too many bytes wait for Kafka")
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        try:
            admitted = self._admission.admit(await self._read(request))
            delivery = None
            if admitted.records:
                delivery = self._inbox.put(admitted.stream, admitted.records, size, self._callback(outcome))
        except BaseException:
            self._inbox.release(size)
            raise
        if delivery is None:
            self._inbox.release(size)
        elif not await self._wait(outcome):
            delivery.is_late = True
            raise self._unavailable("Kafka did not acknowledge in time")
        if not self._acknowledge:
            raise self._unavailable("this is a preview that stores nothing")
        return admitted

    async def _wait(self, outcome: asyncio.Future[bool]) -> bool:
        waiting = asyncio.wait(
            (outcome, self._stopping), timeout=self._settings.answer_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        await waiting
        return outcome.done() and outcome.result()

    def _callback(self, outcome: asyncio.Future[bool]) -> Callable[[bool], None]:
        """Return the function that the runner's thread calls with the outcome; the request may be over by then."""

        def report(acknowledged: bool) -> None:  # noqa: FBT001 - the only argument
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(outcome.set_result, acknowledged)

        return report

    def _unavailable(self, reason: str) -> RejectedError:
        return RejectedError(503, f"{reason}: send again", self._settings.retry_seconds)

    def _too_large(self) -> RejectedError:
        return RejectedError(413, f"a request may have at most {self._settings.max_body_bytes:,} bytes")

    async def _read(self, request: web.Request) -> Request:
        try:
            async with asyncio.timeout(self._settings.answer_seconds):
                body = await request.read()
        except TimeoutError:
            raise RejectedError(408, "the body did not arrive in time") from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except (web.RequestPayloadError, ClientPayloadError, ConnectionError):
            raise RejectedError(400, "the body is truncated, or not compressed as its header states") from None
        return Request(
            request.method, request.rel_url.raw_path, request.rel_url.raw_query_string, request.headers, body, datetime.now(UTC)
        )
