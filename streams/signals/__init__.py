"""Signals, found by convention: each folder here holds `signal.py` with one `SIGNAL`, and test cases in `cases/`."""

import importlib
import pkgutil
from functools import cache

from streams.signals.contract import Signal


@cache
def load_signals() -> tuple[Signal, ...]:
    """Return every signal of this installation, sorted by name."""
    folders = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return tuple(importlib.import_module(f"{__name__}.{name}.signal").SIGNAL for name in folders)
