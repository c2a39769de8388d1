"""What a measured process says about itself, one line on standard output: `first` when it takes its first record, for example.

Only the standard library: every interpreter under measurement imports it.
"""

import os


def mark(name: str) -> None:
    """Say it at once; the observer takes the time when it reads it."""
    os.write(1, f"{name}\n".encode())
