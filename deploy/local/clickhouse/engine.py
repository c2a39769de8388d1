"""ClickHouse out of libchdb, on its settings' ports: `python -m deploy.local.clickhouse.engine LIBRARY CONFIG`.

The library runs clickhouse-local; its last query sleeps, so the process serves until it is stopped or a listener fails.
clickhouse-local aborts when a connection fails, unless it is interactive, and it is interactive only at a terminal. It gets one
for its start; the prompt that follows a failed listener then reads the end of its input, and the process ends.
"""

import ctypes
import os
import sys
import threading
from pathlib import Path

from deploy.local.clickhouse.confinement import confine

SERVE_STATEMENTS = (
    "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; "
    "SELECT sleepEachRow(1) FROM numbers(1000000000) FORMAT Null "
    "SETTINGS function_sleep_max_microseconds_per_block=0, max_block_size=1"
)
TERMINAL_SECONDS = 5.0
INTERACTIVE_OPTIONS = ("--interactive", "--disable_suggestion", "--progress=off", "--progress-table=off")


def main(library: str, config: str) -> int:
    """Serve until stopped. Return 1: a listener failed."""
    home = Path(config).parent
    keyboard, terminal = os.openpty()
    os.dup2(terminal, sys.stdin.fileno())
    os.close(terminal)
    os.environ["HOME"] = str(home / "data")
    if not confine([library, config, str(home / "users.xml")], [str(home / "data"), str(home / "files")]):
        print("this system cannot confine ClickHouse: its users can read the files of this account", file=sys.stderr)  # noqa: T201
    closing = threading.Timer(TERMINAL_SECONDS, os.close, [keyboard])
    closing.daemon = True
    closing.start()
    arguments = ["clickhouse", f"--config-file={config}", *INTERACTIVE_OPTIONS, "--multiquery", f"--query={SERVE_STATEMENTS}"]
    engine = ctypes.CDLL(library)
    engine.chdb_query_cmdline.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    engine.chdb_query_cmdline(len(arguments), (ctypes.c_char_p * len(arguments))(*(text.encode() for text in arguments)))
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
