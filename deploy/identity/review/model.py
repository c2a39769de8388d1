"""Comparison of records by Splink: the Fellegi-Sunter model, trained on the records themselves without labels.

The model learns two shares for each trait: how often it agrees for one person, and how often for two. A pair of records gets a
weight for each trait, and their sum is the probability that both are one person.
"""

import logging
from collections.abc import Iterable, Sequence
from math import log2
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from schemas.errors import ConfigError

if TYPE_CHECKING:
    from splink import Linker

SEED = 1
MIN_RECORDS = 200
RANDOM_PAIRS = 2_000_000
EXPECTED_RECALL = 0.8
MIN_FACTOR = 1e-9
NAMES = ("given_name", "surname")
# pairs of records that agree in one of these are compared
BLOCKS = (
    *(("national_id",), ("email",), ("phone",), ("birth_date",), NAMES),
    *(("surname", "postcode"), ("street", "city"), ("postcode", "street_number")),
)
# pairs that almost certainly are one person: their share of all pairs is the start of the training
CERTAIN = (("national_id",), ("email",), (*NAMES, "birth_date"), (*NAMES, "postcode"))
# the training on pairs that agree in some traits learns about all others, so it needs two of these
TRAINING = (("birth_date",), ("postcode", "city"), NAMES, ("email",), ("phone",), ("national_id",))
MIN_TRAININGS, MAX_TRAININGS = 2, 3
Rows = Sequence[dict[str, str | int | None]]


class Agreement(NamedTuple):
    """Result of one trait: `equal`, `similar`, `different` or `missing`, and its weight in bits."""

    trait: str
    result: str
    weight: float


class Match(NamedTuple):
    """Two records, by position, and the probability that they are one person."""

    left: int
    right: int
    probability: float
    agreements: list[Agreement]


def find_matches(names: Sequence[str], rows: Rows, minimum: float) -> list[Match]:
    """Return the pairs of records of different customers with at least this probability.

    Raises ConfigError if Splink is not installed, or if the records do not suffice for a training.
    """
    if len(rows) < MIN_RECORDS:
        raise ConfigError(f"{len(rows)} records with traits: a review learns from at least {MIN_RECORDS}")
    linker = _build(names, rows)
    _train(linker, names)
    predicted = linker.inference.predict(threshold_match_probability=minimum)
    return [_read(row) for row in predicted.as_record_dict()]


def _build(names: Sequence[str], rows: Rows) -> "Linker":
    try:
        from splink import DuckDBAPI, Linker, SettingsCreator
        from splink.blocking_rule_library import CustomRule
    except ImportError as error:
        raise ConfigError("`touchline identity review` needs Splink: install touchline with its extra `review`") from error
    logging.getLogger("splink").setLevel(logging.ERROR)
    blocks = _present(BLOCKS, names)
    if not blocks:
        raise ConfigError("touchpoints carry too few traits for a review: map traits such as given_name, surname and birth_date")
    settings = SettingsCreator(
        link_type="dedupe_only",
        comparisons=list(_comparisons(names)),
        blocking_rules_to_generate_predictions=[CustomRule(_compare_customers(block)) for block in blocks],
        additional_columns_to_retain=["customer_id"],
        retain_intermediate_calculation_columns=True,
    )
    return Linker(pa.Table.from_pylist(list(rows)), settings, DuckDBAPI(), set_up_basic_logging=False)


def _compare_customers(block: Sequence[str]) -> str:
    """Return the rule of pairs that agree in the block and are of two customers."""
    return " AND ".join([*(f"l.{name} = r.{name}" for name in block), "l.customer_id <> r.customer_id"])


def _present(blocks: Iterable[Sequence[str]], names: Sequence[str]) -> list[Sequence[str]]:
    return [block for block in blocks if set(block) <= set(names)]


def _comparisons(names: Sequence[str]) -> Iterable[Any]:
    """Yield the comparison of each trait. Given name and surname are compared together, so that swapped names agree."""
    from splink import comparison_library as library

    if set(NAMES) <= set(names):
        yield library.ForenameSurnameComparison(*NAMES, jaro_winkler_thresholds=[0.92, 0.8])
    for name in names:
        if name in NAMES and set(NAMES) <= set(names):
            continue
        if name in ("birth_date", "national_id", "postcode", "phone"):
            yield library.LevenshteinAtThresholds(name, [1, 2])
        elif name == "street_number":
            yield library.ExactMatch(name)
        else:
            yield library.JaroWinklerAtThresholds(name, [0.92, 0.8])


def _train(linker: "Linker", names: Sequence[str]) -> None:
    """Train the model. Raises ConfigError if the records are too few or too different."""
    from splink import block_on
    from splink.internals.exceptions import EMTrainingException

    certain = _present(CERTAIN, names)
    if certain:
        linker.training.estimate_probability_two_random_records_match(
            [block_on(*each) for each in certain], recall=EXPECTED_RECALL
        )
    linker.training.estimate_u_using_random_sampling(max_pairs=RANDOM_PAIRS, seed=SEED)
    trained = 0
    for block in _present(TRAINING, names):
        try:
            linker.training.estimate_parameters_using_expectation_maximisation(block_on(*block))
        except EMTrainingException:
            continue  # no pairs of records agree in this block
        trained += 1
        if trained == MAX_TRAININGS:
            return
    if trained < MIN_TRAININGS:
        raise ConfigError("too few records agree in their traits for a training: a review needs more records of the same people")


def _read(row: dict[str, Any]) -> Match:
    names = [name.removeprefix("gamma_") for name in row if name.startswith("gamma_")]
    agreements = [agreement for name in names for agreement in _read_agreements(row, name)]
    return Match(row["unique_id_l"], row["unique_id_r"], row["match_probability"], agreements)


def _read_agreements(row: dict[str, Any], comparison: str) -> Iterable[Agreement]:
    """Yield the result of each trait of a comparison. Names share one weight, which the first of them gets."""
    weight = log2(max(row[f"bf_{comparison}"] * row.get(f"bf_tf_adj_{comparison}", 1.0), MIN_FACTOR))
    for name in NAMES if comparison == "_".join(NAMES) else (comparison,):
        left, right = row[f"{name}_l"], row[f"{name}_r"]
        if left is None or right is None:
            result = "missing"
        elif left == right:
            result = "equal"
        else:
            result = "similar" if row[f"gamma_{comparison}"] else "different"
        yield Agreement(name, result, weight)
        weight = 0.0
