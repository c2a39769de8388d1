"""The log of every Touchline process: one format, on standard error."""

import logging
from collections.abc import Sequence

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure_logging(level: int, quiet: Sequence[str] = ()) -> None:
    """Log to standard error. Loggers in `quiet` repeat each attempt of a client; the process itself logs that once."""
    logging.basicConfig(level=level, format=LOG_FORMAT)
    for name in quiet:
        logging.getLogger(name).setLevel(logging.CRITICAL)
