"""CDNOW, the real input: 23,570 customers' purchases of CDs, 1997-01-01 to 1998-06-30 (Fader, Hardie & Lee 2005).

The file is part of the `lifetimes` 0.11.3 wheel on PyPI. The wheel is downloaded for its data only: nothing of it is installed
or imported. The drop folder holds the file as published, byte for byte.
"""

import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from deploy.local.fetching import complete_folder, run
from deploy.local.state import home
from schemas.errors import ConfigError

SETTINGS = Path(__file__).with_name("cdnow.yaml")
WHEEL = "lifetimes==0.11.3"
WHEEL_SHA256 = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"
ARCHIVE_MEMBER = "lifetimes/datasets/CDNOW_master.txt"
CUSTOMERS, TRANSACTIONS = 23_570, 69_659


def fetch_drop() -> Path:
    """Return the drop folder with the purchase file, downloaded on first use and verified on every use.

    Raises RetryableError when the wheel cannot be downloaded, ConfigError when the data differs from the published data.
    """
    folder = home() / "demo" / "cdnow"
    if not folder.exists():
        with complete_folder(folder) as partial:
            (partial / Path(ARCHIVE_MEMBER).name).write_bytes(_fetch())
    verify((folder / Path(ARCHIVE_MEMBER).name).read_bytes(), folder)
    return folder


def verify(data: bytes, where: Path) -> None:
    """Raise ConfigError unless `data` holds the published counts of customers and transactions."""
    lines = data.splitlines()[1:]
    if (len(lines), len({line.split()[0] for line in lines})) != (TRANSACTIONS, CUSTOMERS):
        raise ConfigError(
            f"{where} does not hold the {TRANSACTIONS:,} transactions of {CUSTOMERS:,} customers of CDNOW: "
            "remove that folder and run `touchline demo` again"
        )


def _fetch() -> bytes:
    with TemporaryDirectory() as name:
        temporary = Path(name)
        options = ["--quiet", "--disable-pip-version-check", "--no-deps"]
        command = [sys.executable, "-m", "pip", "download", *options, WHEEL]
        run("The CDNOW data", command, temporary)
        wheel = next(temporary.glob("*.whl"))
        if sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
            raise ConfigError(f"{WHEEL} from the package index is not the released wheel: check the index that pip uses")
        with ZipFile(wheel) as archive:
            return archive.read(ARCHIVE_MEMBER)
