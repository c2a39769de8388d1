"""Reads Kafka records whose header names are not UTF-8, with kafka-python. Brokers accept them; kafka-python raises an error.

`kafka_headers.py` does the same for aiokafka.
"""

from functools import wraps
from typing import Any


class LenientBytes(bytearray):
    """Buffer whose slices decode any bytes."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return LenientBytes(found) if isinstance(index, slice) else found

    def decode(self, *_: Any, **__: Any) -> str:
        """Return the text, with an escape sequence for each invalid byte."""
        return super().decode("utf-8", "backslashreplace")


def tolerate_invalid_header_names_in_kafka_python() -> None:
    """Let all kafka-python consumers of this process read records whose header names are not UTF-8.

    The position in a batch moves after the last header of a record, so a failed record is read again.
    """
    from kafka.record.default_records import DefaultRecordBatch  # late: workers and sinks import this module, not kafka-python

    strict = DefaultRecordBatch._read_msg  # noqa: SLF001 - kafka-python has no other place for another buffer
    if hasattr(strict, "__wrapped__"):
        return

    @wraps(strict)
    def read_record(batch: Any) -> Any:
        try:
            return strict(batch)
        except UnicodeDecodeError:
            batch._buffer = LenientBytes(batch._buffer)  # noqa: SLF001
            return strict(batch)

    DefaultRecordBatch._read_msg = read_record  # noqa: SLF001
