"""Normalisation of identifiers: one spelling for one value, no identifier for a value that identifies no one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records.normalisation.refusal import RefusedError, RefusedIdentifier
from schemas.records.normalisation.rules import RULES_VERSION, IdentifierRules, identify, normalise

KINDS = ("email", "phone", "loyalty", "erp_party", "user_id", "anonymous_id")
REGIONS = (None, "DE", "US", "GB", "FR", "IT", "BR", "CH", "AT")


def normal(kind: str, raw: str, **rules: str | tuple[str, ...]) -> list[str]:
    """Return the values; a scoped one begins with `~`."""
    found = normalise(kind, raw, IdentifierRules(**rules))  # type: ignore[arg-type]
    return [value if is_global else f"~{value}" for value, is_global in found]


def reason(kind: str, raw: str, **rules: str | tuple[str, ...]) -> str:
    with pytest.raises(RefusedError) as refusal:
        normal(kind, raw, **rules)
    return refusal.value.reason


SPELLINGS = {
    ("DE", "+491511234567"): ["0151 1234567", "+49 151 1234567", "+49 (0)151 1234567", "0049-151-1234567", "(0151) 123 45 67"],
    ("AT", "+436641234567"): ["0664 1234567", "+43 664 1234567", "+43 (0)664/1234567", "0043 664 1234567", "tel:+43-664-1234567"],
    ("CH", "+41791234568"): ["079 123 45 68", "+41 79 123 45 68", "+41 (0)79 123 45 68", "0041791234568"],
    ("GB", "+447911123456"): ["07911 123456", "+44 7911 123456", "+44 (0)7911 123456", "7911 123456", "0044 7911 123456"],
    ("FR", "+33612345679"): ["06 12 34 56 79", "+33 6 12 34 56 79", "+33 (0)6 12 34 56 79", "06.12.34.56.79", "612345679"],
    ("US", "+12125550147"): ["(212) 555-0147", "212.555.0147", "+1 212 555 0147", "1-212-555-0147", "001 212 555 0147"],
    ("IT", "+390612345678"): ["06 12345678", "+39 06 12345678", "0039 06 12345678"],
    ("BR", "+5511987654320"): ["(11) 98765-4320", "+55 11 98765-4320", "011 98765-4320", "0055 11 98765 4320"],
    ("RU", "+79123456788"): ["8 912 345-67-88", "+7 912 345 67 88", "+7 (8) 912 345 67 88", "9123456788"],
}


@pytest.mark.parametrize(("region", "value"), SPELLINGS)
def test_spellings_of_a_phone_number_are_one_value(region: str, value: str) -> None:
    for each in SPELLINGS[region, value]:
        assert (each, normal("phone", each, region=region)) == (each, [value])


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("\u200e+49 151 1234567\u202c", "+491511234567"),
        ("+49\u00a0151\u20111234567", "+491511234567"),
        ("\uff0b\uff14\uff19 151 1234567", "+491511234567"),
        ("\u0660\u0661\u0665\u0661 1234567", "+491511234567"),  # Arabic digits
        ("'0151 1234567", "+491511234567"),
        ('="01511234567"', "+491511234567"),
        ("1511234567", "+491511234567"),  # a spreadsheet drops the leading zero
        ("4915112345678", "+4915112345678"),  # and the plus
        ("4915112345678.0", "+4915112345678"),
        ("Mobil: 0151/1234567 (privat)", "+491511234567"),
        ("+49 151 1234567 ext. 12", "+491511234567"),
        ("+49 30 1234567 ext. 12", "+49301234567;ext=12"),
        ("030 1234567 Durchwahl 12", "+49301234567;ext=12"),
        ("tel:+49-30-1234567;ext=12;phone-context=example.com", "+49301234567;ext=12"),
    ],
)
def test_marks_labels_and_extensions_of_a_phone_number(raw: str, value: str) -> None:
    assert normal("phone", raw, region="DE") == [value]


def test_second_number_is_a_number_of_its_own() -> None:
    both = ["+49301234567", "+491717654321"]
    assert normal("phone", "030 1234567 / 0171 7654321", region="DE") == both
    assert normal("phone", "030/1234567, 0171/7654321", region="DE") == both
    assert normal("phone", "030/1234567 oder 0171 7654321", region="DE") == both
    assert normal("phone", "030/1234567", region="DE") == both[:1]
    assert reason("phone", "/".join(["0301234567"] * 4), region="DE") == "several_values"


@pytest.mark.parametrize(
    ("raw", "region", "value"),
    [
        ("555-0199", None, "~5550199"),
        ("(030) 555 1234", None, "~0305551234"),
        ("0151 1234567", None, "~01511234567"),
        ("555-0199", "US", "~5550199"),  # no area code
        ("5550199", "DE", "~5550199"),  # perhaps no area code
        ("491511234567", None, "~491511234567"),
        ("+49 151 1234567", None, "+491511234567"),
        ("0049 151 1234567", None, "+491511234567"),
        ("(030) 555 1234", "DE", "+49305551234"),
    ],
)
def test_number_without_country_or_town_is_never_global(raw: str, region: str | None, value: str) -> None:
    assert normal("phone", raw, **({"region": region} if region else {})) == [value]


@pytest.mark.parametrize(
    ("kind", "raw", "expected"),
    [
        ("phone", "4.91512E+12", "exponent"),
        ("phone", "4,91512E+12", "exponent"),
        ("phone", "4E12", "exponent"),
        ("erp_party", "4.91512E+12", "exponent"),
        ("erp_party", "1E+10", "exponent"),
        ("phone", "123", "too_short"),
        ("phone", "+999 123 456 789", "malformed"),
        ("phone", "A-1234567", "malformed"),
        ("phone", "1" + "23" * 8, "too_long"),
        ("phone", "+49 99999999", "placeholder"),
        ("phone", "999-999-9999", "placeholder"),
        ("phone", "9876543210", "placeholder"),
        ("email", "nobody", "malformed"),
        ("email", "ann@localhost", "malformed"),
        ("email", "ann@b..example", "malformed"),
        ("email", "ann@b.example; bob@b.example", "several_values"),
        ("email", "\ud800ann@b.example", "malformed"),
        ("user_id", "x\ud800y", "malformed"),
        ("user_id", "x" + "y" * 1_000, "too_long"),
    ],
)
def test_unusable_value_is_refused_with_its_reason(kind: str, raw: str, expected: str) -> None:
    assert reason(kind, raw) == expected


PLACEHOLDERS = r"""
noreply@shop.example|no-reply@shop.example|No_Reply@shop.example|donotreply@shop.example|do-not-reply+7@shop.example|test@test.com
null@shop.example|xxx@xxx.example|00000000-0000-0000-0000-000000000000|ffffffff-ffff-ffff-ffff-ffffffffffff|[object Object]
[object Undefined]|\N|#N/A|#REF!|(null)|<null>|[none]|null|NULL|None|nil|NaN|n/a|N.A.|unknown|Unbekannt|undefined|anonymous|guest
Guest|true|false|TRUE|test|xxx|XXXX|aaa|-|--|---|...|?|####|-1|0|000|0000000000|999999|9999999999|111111|{{user.email}}|${user_id}
*|EMAIL|*|%%email%%|not set|Keine Angabe
""".replace("\n", "|").split("|")


@pytest.mark.parametrize("raw", sorted({each.strip() for each in PLACEHOLDERS if each.strip()} - {"EMAIL", "*"}))
@pytest.mark.parametrize("kind", ["email", "phone", "user_id", "anonymous_id"])
def test_placeholder_identifies_no_one(kind: str, raw: str) -> None:
    for spelling in (raw, f" {raw}\u200b ", f'="{raw}"'):
        expected = {"placeholder"} if kind != "phone" or "@" not in raw else {"placeholder", "malformed"}
        assert reason(kind, spelling) in expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "info@bigcustomer.example"),
        ("email", "na@shop.example"),
        ("email", "noreen@shop.example"),
        ("email", "testa@shop.example"),
        ("user_id", "guestbook-7"),
        ("erp_party", "111"),
        ("erp_party", "0010000012"),
        ("erp_party", "1e5"),
        ("crm_contact", "0035000000AbCdE"),
        ("user_id", "李明"),
    ],
)
def test_real_value_is_no_placeholder(kind: str, value: str) -> None:
    assert normal(kind, value) in ([value], [f"~{value}"])


def test_placeholders_of_a_feed_are_added_and_lifted() -> None:
    own = ("walk-in*", "*@till.shop.example", "[none given]", "!999999", "!noreply@shop.example")
    assert reason("erp_party", "[None given]", placeholders=own) == "placeholder"
    assert normal("erp_party", "n", placeholders=own) == ["~n"]
    assert reason("erp_party", "Walk-In customer", placeholders=own) == "placeholder"
    assert reason("email", "pos7@till.shop.example", placeholders=own) == "placeholder"
    assert normal("erp_party", "999999", placeholders=own) == ["~999999"]
    assert normal("email", "noreply@shop.example", placeholders=own) == ["noreply@shop.example"]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("  Ann@Example.COM ", "ann@example.com"),
        ("mailto:Ann@example.com?subject=Hi", "ann@example.com"),
        ("MAILTO:ann%40example.com", "ann@example.com"),
        ("Ann Example <ann@example.com>", "ann@example.com"),
        ("<ann@example.com>;", "ann@example.com"),
        ("ann@example.com.", "ann@example.com"),
        ("an\u200bn@exam\u00adple.com\ufeff", "ann@example.com"),
        ("\u202aann@example.com\u202c", "ann@example.com"),
        ("\uff21\uff2e\uff2e\uff20\uff25xample.com", "ann@example.com"),  # full width
        ("zoe\u0308@example.com", "zo\u00eb@example.com"),  # NFD
        ("zo\u00eb@example.com", "zo\u00eb@example.com"),  # NFC
        ("ann@B\u00fccher.example", "ann@xn--bcher-kva.example"),
        ("ann@ko\u0308ln.example", "ann@xn--kln-sna.example"),
        ("ann@xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("ann@my_shop.example", "ann@my_shop.example"),
    ],
)
def test_spellings_of_an_address_are_one_value(raw: str, value: str) -> None:
    assert normal("email", raw) == [value]


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("crm_contact", " 0031 ", "~0031"),
        ("crm_contact", '="00123"', "~00123"),
        ("crm_contact", "'00123", "~00123"),
        ("erp_party", "42.0", "~42"),
        ("erp_party", "A\u00a07  x", "~A 7 x"),
        ("erp_party", "A\u200b\ufe0f7", "~A7"),
        ("loyalty", "1234 5678-9012", "~123456789012"),
        ("loyalty", "AB 12", "~AB 12"),
    ],
)
def test_ids_lose_only_what_a_spreadsheet_or_a_keyboard_added(kind: str, raw: str, value: str) -> None:
    assert normal(kind, raw) == [value]


def test_value_begins_with_its_system_or_programme() -> None:
    values = {
        "email": "A@b.org",
        "erp_party": "42",
        "crm_contact@salesforce": "42",
        "phone": "0151 1234567",
        "loyalty": "77",
        "loyalty@miles": "78",
        "user_id": " ",
        "anonymous_id": None,
        "device": "guest",
    }
    found, refused = identify("shop", values, IdentifierRules(programme="payback"))
    assert [(each.kind, each.value, each.raw) for each in found] == [
        ("email", "a@b.org", "A@b.org"),
        ("erp_party", "shop/42", None),
        ("crm_contact", "salesforce/42", None),
        ("phone", "shop/01511234567", "0151 1234567"),
        ("loyalty", "payback/77", None),
        ("loyalty", "miles/78", None),
    ]
    assert {each.rules for each in found} == {RULES_VERSION}
    assert refused == [RefusedIdentifier("device", "placeholder")]


def test_loyalty_number_without_programme_belongs_to_its_system() -> None:
    [found] = identify("shop", {"loyalty": "77"}).identifiers
    assert found.value == "shop/77"


def test_equal_values_of_one_kind_are_one_identifier() -> None:
    found = identify("shop", {"phone": "0151 1234567, 0151/1234567", "phone@shop": "0151-1234567"}).identifiers
    assert [each.value for each in found] == ["shop/01511234567"]


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text("0123456789+-()/;,. xEe#", max_size=30),
    st.text("aB@.<>;ü\u0308\u200d\u00ad\ufe0f\uff20'=\":", max_size=30),
    st.tuples(st.sampled_from(['="', "'", "mailto:", "tel:", "Ann <"]), st.text(max_size=20)).map("".join),
    st.tuples(st.text("abü.-", max_size=8), st.sampled_from(["@"]), st.text("abüßİ.-", max_size=12)).map("".join),
)


@given(st.sampled_from(KINDS), TEXTS, st.sampled_from(REGIONS))
def test_normalising_twice_equals_once_and_never_raises(kind: str, raw: str, region: str | None) -> None:
    rules = IdentifierRules(region)
    try:
        once = normalise(kind, raw, rules)
    except RefusedError:
        return
    assert once
    for each in once:
        assert normalise(kind, each.value, rules) == (each,)


@given(st.sampled_from(KINDS), st.text(max_size=1_200))
def test_any_text_is_identified_or_refused(kind: str, raw: str) -> None:
    identifiers, refused = identify("shop", {kind: raw})
    assert (not raw.strip()) == (not identifiers and not refused)
    assert all(each.kind == kind and each.value.encode() for each in identifiers)
