"""Signals by convention: each folder here holds `signal.py` with one `SIGNAL`, and `cases/` that are its tests."""

import importlib
import pkgutil
from functools import cache

from streams.signals.contract import Signal


@cache
def signals() -> tuple[Signal, ...]:
    """Every signal of this installation, in the order of their names."""
    folders = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return tuple(importlib.import_module(f"{__name__}.{name}.signal").SIGNAL for name in folders)
