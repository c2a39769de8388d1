"""Compound keys: forms of traits, the setting, and the keys of the preset."""

import pytest

from schemas.errors import ConfigError
from streams.identity.compound import CompoundKey, Piece, cache_compound_values, compound_values
from streams.identity.compound_keys import CompoundSettings, parse_keys
from streams.identity.forms import FORMS, encode_sound, fold, read_date

PERSON = {
    "given_name": "Zoë",
    "surname": "Müller-Lüdenscheidt",
    "birth_date": "1956-04-09",
    "postcode": "2119",
    "city": "Cleveland",
    "street": "Wallaby Place",
    "street_number": "7",
    "national_id": "1804974",
}
PEOPLE = parse_keys("people")


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        ("  O'Brien ", "obrien"),
        ("MÜLLER", "muller"),
        ("Straße", "strasse"),
        ("Łukasz Sørensen", "lukaszsorensen"),
        ("\uff21\uff4e\uff4e", "ann"),
        ("Zoe\u0308\u200b", "zoe"),
        ("हिन्दी", "हिन्दी"),
        ("김민준", "김민준"),
        ("Unknown", ""),
        ("N/A", ""),
        ("0000", ""),
        ("", ""),
    ],
)
def test_text_is_folded_to_one_spelling(value: str, folded: str) -> None:
    assert fold(value) == folded


@pytest.mark.parametrize(
    ("name", "code"),
    [("Robert", "r163"), ("Rupert", "r163"), ("Ashcraft", "a261"), ("Tymczak", "t522"), ("Pfister", "p236"), ("Lee", "l000")],
)
def test_soundex_follows_the_american_rules(name: str, code: str) -> None:
    assert encode_sound(name) == code


def test_sound_of_a_name_without_latin_letters_is_the_name() -> None:
    assert encode_sound("Иванов") == "иванов"
    assert encode_sound("12") == ""


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("1956-04-09", "19560409"),
        ("19560409", "19560409"),
        ("1956-04-09T00:00:00Z", "19560409"),
        ("9.4.1956", "19560409"),
        ("04/09/1956", ""),
        ("1956-13-09", ""),
        ("1900-01-01", ""),
        ("9999-12-31", ""),
        ("", ""),
    ],
)
def test_date_is_read_only_where_it_has_one_meaning(value: str, date: str) -> None:
    assert read_date(value) == date


@pytest.mark.parametrize(
    ("form", "value", "piece"),
    [
        ("year", "1956-04-09", "1956"),
        ("year_month", "1956-04-09", "195604"),
        ("year_day", "1956-04-09", "195609"),
        ("month_day", "1956-04-09", "0409"),
        ("sorted", "1804974", "0144789"),
        ("first3", "Zoë", "zoe"),
        ("first4", "Zoë", ""),
        ("last4", "1804974", "4974"),
        ("year_day", "?", ""),
    ],
)
def test_form_returns_its_piece(form: str, value: str, piece: str) -> None:
    assert FORMS[form](value) == piece


def test_key_needs_all_of_its_traits() -> None:
    key = CompoundKey("names", (Piece(("given_name", "surname"), "text"), Piece(("postcode",), "text")), 0, 0.9)
    assert compound_values(PERSON, [key]) == [("key:names", "mullerludenscheidt|zoe|2119")]
    assert compound_values({**PERSON, "given_name": "unknown"}, [key]) == []
    assert compound_values({name: PERSON[name] for name in ("given_name", "surname")}, [key]) == []


def test_swapped_names_give_the_same_key() -> None:
    swapped = {**PERSON, "given_name": PERSON["surname"], "surname": PERSON["given_name"]}
    first = dict(compound_values(PERSON, PEOPLE))
    assert dict(compound_values(swapped, PEOPLE))["key:names_street_number"] == first["key:names_street_number"]


def test_twins_and_namesakes_share_no_key_of_the_preset() -> None:
    person = {**PERSON, "given_name": "Anna", "surname": "Meier"}
    twin = {**person, "given_name": "Berta", "national_id": "1804975"}
    daughter = {**person, "birth_date": "1990-12-01", "national_id": "7315826"}
    values = set(compound_values(person, PEOPLE))
    assert len(values) == len(PEOPLE)
    assert not values & set(compound_values(twin, PEOPLE))
    assert not values & set(compound_values(daughter, PEOPLE))


def test_cache_returns_the_same_values() -> None:
    cached = cache_compound_values(PEOPLE)
    assert cached(PERSON) == cached(dict(PERSON)) == compound_values(PERSON, PEOPLE)


def test_value_of_one_key_never_contains_the_separator_of_scopes() -> None:
    hostile = dict.fromkeys(PERSON, "a/b|c") | {"birth_date": "1956-04-09"}
    for _, value in compound_values(hostile, PEOPLE):
        assert "/" not in value
        assert "c|" not in value.replace("abc|", "")


def test_setting_is_off_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOUCHLINE_IDENTITY_COMPOUND_KEYS", raising=False)
    assert CompoundSettings().load_keys() == ()


def test_setting_takes_a_list_and_sorts_it_by_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[{"name": "b", "fields": ["x", "y"], "priority": 2}, {"name": "a", "fields": ["x", "y"], "confidence": 0.5}]'
    monkeypatch.setenv("TOUCHLINE_IDENTITY_COMPOUND_KEYS", text)
    keys = CompoundSettings().load_keys()
    assert [(key.kind, key.priority, key.confidence) for key in keys] == [
        ("key:a", 1, 0.5),
        ("key:b", 2, 0.9),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "persons",
        "{",
        "[{name: a, fields: [x]}]",
        "[{name: a, fields: [x, 'y:nothing']}]",
        "[{name: a, fields: [x, 'y+:text']}]",
        "[{name: A, fields: [x, y]}]",
        "[{name: a, fields: [x, y], confidence: 2}]",
        "[{name: a, fields: [x, y], weight: 2}]",
        "[{name: a, fields: [x, y]}, {name: a, fields: [x, z]}]",
    ],
)
def test_wrong_setting_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHLINE_IDENTITY_COMPOUND_KEYS", text)
    with pytest.raises(ConfigError, match="TOUCHLINE_IDENTITY_COMPOUND_KEYS"):
        CompoundSettings()
