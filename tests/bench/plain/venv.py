"""Virtual environment with Quix Streams. The project itself must not depend on it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / ".touchline" / "bench-venv"
REQUIREMENTS = Path(__file__).parents[1] / "requirements-quix.txt"


def quix_python() -> Path:
    """Return the path of its interpreter. A newer lock file creates the environment again."""
    python, stamp = FOLDER / "bin" / "python", FOLDER / ".complete"
    if not stamp.exists() or stamp.stat().st_mtime < REQUIREMENTS.stat().st_mtime:
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
        options = ("--quiet", "--disable-pip-version-check", "--require-hashes")
        subprocess.run([python, "-m", "pip", "install", *options, "-r", REQUIREMENTS], check=True)
        stamp.touch()
    return python
