"""Marks: lines that a measured process prints on standard output, for example `first` at its first record.

The module uses the standard library only, because every measured interpreter imports it.
"""

import os


def mark(name: str) -> None:
    """Print a mark without buffering. The observer notes the time at which it reads the mark."""
    os.write(1, f"{name}\n".encode())
