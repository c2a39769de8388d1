"""Phone numbers by libphonenumber: E.164 where the country is known, else the digits as written.

A number without a country belongs to the system that brings it: `(030) 555 1234` is another person in another country. The
extension of a landline stays part of the number, because a company's employees share the number before it.
"""

import re
import unicodedata
from typing import NamedTuple

from phonenumbers import (
    NumberParseException,
    PhoneMetadata,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
    ValidationResult,
    format_number,
    is_possible_number_with_reason,
    is_valid_number,
    national_significant_number,
    number_type,
    parse,
    region_code_for_country_code,
)

from schemas.records.normalisation.placeholders import is_placeholder_number
from schemas.records.normalisation.refusal import RefusedError

MIN_DIGITS, MAX_DIGITS, MAX_NUMBERS = 7, 15, 3
MIN_DIGITS_WITH_COUNTRY = 11
MAX_LENGTHS = 4
SEPARATOR = re.compile(r"[/|,]|;(?!\s*ext)|\s(?:or|oder|ou|o|und|and|&)\s", re.IGNORECASE)
PARAMETER = re.compile(r";(?!ext=)[\w-]+=[^;]*", re.IGNORECASE)
EXTENSION = re.compile(
    r"(?:;\s*ext\s*=|[\s;,.(-]*(?<![^\W\d_])(?:extension|extn|ext|x|durchwahl|dw|poste|anexo|interno|int)[\s.:=]*|\s*[#,]\s*)(\d{1,7})\s*\)?",
    re.IGNORECASE,
)
LABEL = re.compile(r"(?<![\w-])[^\W\d_]+[.:]*(?![\w-])")
LETTER = re.compile(r"[^\W\d_]")


class Phone(NamedTuple):
    """A normal number. `is_global` is False for the digits of a number whose country is unknown."""

    value: str
    is_global: bool


def normalise_phones(text: str, region: str | None) -> list[Phone]:
    """Return each number of a text. Raises RefusedError where it holds none, or more than three.

    `region` is the country (`DE`) of numbers without a country code.
    """
    numbers = _split(PARAMETER.sub("", _to_ascii_digits(text)))
    if len(numbers) > MAX_NUMBERS:
        raise RefusedError("several_values")
    return list(dict.fromkeys(_normalise_one(number, region) for number in numbers))


def _to_ascii_digits(text: str) -> str:
    return text if text.isascii() else "".join(str(unicodedata.decimal(each, each)) for each in text)


def _split(text: str) -> list[str]:
    """Return the numbers of a text. A slash separates two numbers (`030 1234567 / 0171 7654321`) or area codes (`030/1234567`).

    A part of fewer digits than a number begins the next number.
    """
    parts = [part for part in SEPARATOR.split(text) if _count_digits(part)]
    if all(_count_digits(part) >= MIN_DIGITS for part in parts):
        return parts or [text]
    if _count_digits(text) <= MAX_DIGITS:
        return [text]
    numbers, begun = [], ""
    for part in parts:
        begun += part
        if _count_digits(begun) >= MIN_DIGITS:
            numbers.append(begun)
            begun = ""
    return numbers


def _count_digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _normalise_one(text: str, region: str | None) -> Phone:
    main, extension = _cut_extension(text)
    main = LABEL.sub(" ", main)
    if LETTER.search(main):
        raise RefusedError("malformed")
    digits = "".join(filter(str.isdigit, main))
    if len(digits) < MIN_DIGITS:
        raise RefusedError("too_short")
    if is_placeholder_number(digits):
        raise RefusedError("placeholder")
    has_plus = "+" in re.split(r"\d", main, maxsplit=1)[0]
    number = _parse_international(digits) if has_plus else _parse_without_plus(digits, region)
    if number is None:
        if has_plus:
            raise RefusedError("malformed")
        if len(digits) > MAX_DIGITS:
            raise RefusedError("too_long")
        return Phone(f"{digits};ext={extension}" if extension else digits, is_global=False)
    if is_placeholder_number(national_significant_number(number)):
        raise RefusedError("placeholder")
    value = format_number(number, PhoneNumberFormat.E164)
    return Phone(f"{value};ext={extension}" if extension and not _is_mobile(number) else value, is_global=True)


def _cut_extension(text: str) -> tuple[str, str]:
    """Return the number before the extension, and the extension."""
    for match in EXTENSION.finditer(text):
        if match.end() == len(text) and _count_digits(text[: match.start()]) >= MIN_DIGITS:
            return text[: match.start()], match[1]
    return text, ""


def _parse_international(digits: str) -> PhoneNumber | None:
    """Return the number of country code and digits, also with a superfluous national prefix, as in `+49 (0)151`."""
    number = _parse(f"+{digits}", None)
    if number is None:
        return None
    metadata = PhoneMetadata.metadata_for_region(region_code_for_country_code(number.country_code or 0))
    prefix, national = metadata and metadata.national_prefix, national_significant_number(number)
    if prefix and national.startswith(prefix) and not is_valid_number(number):
        bare = _parse(f"+{number.country_code}{national.removeprefix(prefix)}", None)
        return _check_length(bare) or _check_length(number)
    return _check_length(number)


def _parse_without_plus(digits: str, region: str | None) -> PhoneNumber | None:
    """Return the number of digits without a plus, or None where its country or its town is unknown.

    Where numbers have many lengths, as in Germany, digits without the national prefix 0 may lack their area code.
    """
    if digits.startswith("00") and (number := _parse_international(digits[2:])):
        return number
    if region is None:
        return None
    number, metadata = _check_length(_parse(digits, region)), PhoneMetadata.metadata_for_region(region)
    if metadata is None or metadata.national_prefix != "0" or digits.startswith("0"):
        return number
    if digits.startswith(str(metadata.country_code)) and len(digits) >= MIN_DIGITS_WITH_COUNTRY:
        return _parse_international(digits) or number
    lengths = metadata.general_desc.possible_length if metadata.general_desc else ()
    is_within_town = len(lengths) > MAX_LENGTHS and not (number and _is_mobile(number))
    return None if is_within_town else number


def _parse(text: str, region: str | None) -> PhoneNumber | None:
    try:
        return parse(text, region)
    except NumberParseException:
        return None


def _check_length(number: PhoneNumber | None) -> PhoneNumber | None:
    """Return the number if its length is possible in its country. A number within a town has no area code and is not."""
    if number is None:
        return None
    is_long = len(str(number.country_code)) + len(national_significant_number(number)) >= MIN_DIGITS
    return number if is_long and is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE else None


def _is_mobile(number: PhoneNumber) -> bool:
    """Return whether the number is that of a mobile phone. Some numbers in use lack a digit of the numbering plan."""
    value = format_number(number, PhoneNumberFormat.E164)
    numbers = (_parse(value + more, None) for more in ("", "0"))
    return any(number_type(number) == PhoneNumberType.MOBILE for number in numbers if number)
