"""ClickHouse out of libchdb, on its settings' ports: `python -m deploy.local.clickhouse.engine LIBRARY CONFIG`.

The library runs clickhouse-local; its last query sleeps, so the process serves until it is stopped or a listener fails.
"""

import ctypes
import sys

SERVE = (
    "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; "
    "SELECT sleepEachRow(1) FROM numbers(1000000000) FORMAT Null "
    "SETTINGS function_sleep_max_microseconds_per_block=0, max_block_size=1"
)


def main(library: str, config: str) -> int:
    """Serve until stopped; returning at all is a failure, told by the exit code."""
    arguments = ["clickhouse", f"--config-file={config}", "--multiquery", f"--query={SERVE}"]
    engine = ctypes.CDLL(library)
    engine.chdb_query_cmdline.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    engine.chdb_query_cmdline(len(arguments), (ctypes.c_char_p * len(arguments))(*(text.encode() for text in arguments)))
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
