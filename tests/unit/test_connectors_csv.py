"""The CSV reader: any line belongs to exactly one record or rejection, and a broken quote does not affect its neighbours."""

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.files import csv_rows
from connectors.files.row import MAX_RECORD_BYTES, Row
from connectors.files.settings import Feed
from schemas.errors import RecordError

PIECES = [
    b'"',
    b'""',
    b",",
    b";",
    b"\n",
    b"\r\n",
    b"\r",
    b"a",
    b"b c",
    b" ",
    b"\t",
    b"\0",
    b"\xff",
    "é😀".encode(),
    b"\xef\xbb\xbf",
]
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)


def feed(**changes: Any) -> Feed:
    mapping = {"type": "'order.placed'", "channel": "'web'", "occurred_at": "iso(a, 'UTC')", "identifiers": {"erp_party": "b"}}
    return Feed.model_validate({"files": "*", "format": "csv", "source": "erp", "system": "s", "map": mapping, **changes})


PLAIN = feed(header=["a", "b"])


def rows(content: bytes, shape: Feed = PLAIN) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.csv"
        path.write_bytes(content)
        with path.open("rb") as file:
            return list(csv_rows.read_rows(file, shape))


def skip_blank_lines(content: bytes, at: int) -> int:
    while True:
        line = content[at : content.find(b"\n", at) + 1 or len(content)]
        if not line.isspace():
            return at
        at += len(line)


def accepted_rows(found: list[Row]) -> Iterator[dict[str, Any]]:
    return (row.data for row in found if not isinstance(row.data, RecordError))


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join), st.sampled_from([",", ";", "whitespace"]))
def test_records_and_blank_lines_together_are_the_bytes_of_the_file(content: bytes, delimiter: str) -> None:
    at = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    line = 1
    for row in rows(content, feed(header=["a", "b"], delimiter=delimiter)):
        begin = skip_blank_lines(content, at)
        line += content.count(b"\n", at, begin)
        assert content[begin : begin + len(row.raw)] == row.raw
        assert row.number == line
        assert row.size == len(row.raw)
        at = begin + len(row.raw)
        line += row.raw.count(b"\n")
    assert skip_blank_lines(content, at) == len(content)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_become_rows_and_never_an_exception(content: bytes) -> None:
    for row in rows(content, feed(columns=["a", "b"])):
        assert row.raw


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=20), st.sampled_from([",", ";", "\t"]))
def test_output_of_csv_writer_is_read_back_unchanged(table: list[tuple[str, str, str]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(table)
    found = rows(text.getvalue().encode(), feed(header=["a", "b", "c"], delimiter=delimiter))
    expected = [{name: cell for name, cell in zip("abc", cells, strict=True) if cell} for cells in table]
    assert [row.data for row in found] == expected


@settings(deadline=None)
@given(before=st.integers(0, 30), after=st.integers(0, 30), quoted_neighbours=st.booleans())
def test_unclosed_quote_rejects_only_its_line(before: int, after: int, *, quoted_neighbours: bool) -> None:
    line = b'1,"x"\n' if quoted_neighbours else b"1,x\n"
    found = rows(line * before + b'2,"broken\n' + line * after)
    assert [row.data for row in found if row.number == before + 1] == [csv_rows.OPEN_QUOTE]
    assert list(accepted_rows(found)) == [{"a": "1", "b": "x"}] * (before + after)


def test_quote_closed_by_later_cell_is_not_one_record() -> None:
    found = rows(b'1,"broken\n2,x\n3","y"\n4,z\n')
    assert list(accepted_rows(found)) == [{"a": "2", "b": "x"}, {"a": '3"', "b": "y"}, {"a": "4", "b": "z"}]
    assert [row.number for row in found if isinstance(row.data, RecordError)] == [1]


def test_quoted_cell_holds_at_most_999_line_ends() -> None:
    def with_line_ends(count: int) -> bytes:
        return b'1,"' + b"\n" * count + b'"\n2,x\n'

    assert list(accepted_rows(rows(with_line_ends(999)))) == [{"a": "1", "b": "\n" * 999}, {"a": "2", "b": "x"}]
    assert list(accepted_rows(rows(with_line_ends(1_000)))) == [{"a": "2", "b": "x"}]


def test_too_long_line_is_rejected_with_its_size_and_reading_continues() -> None:
    found = rows(b"1," + b"x" * (3 * MAX_RECORD_BYTES) + b"\n2,y\n")
    assert found[0].data is csv_rows.TOO_LONG
    assert (len(found[0].raw), found[0].size) == (MAX_RECORD_BYTES, 3 * MAX_RECORD_BYTES + 3)
    assert found[1].data == {"a": "2", "b": "y"}


def test_too_long_quoted_record_is_rejected_and_reading_continues() -> None:
    found = rows(b'1,"' + (b"x" * 1_000_000 + b"\n") * 9 + b'"\n2,y\n')
    assert isinstance(found[0].data, RecordError)
    assert found[-1].data == {"a": "2", "b": "y"}


def test_file_is_read_only_in_its_encoding() -> None:
    content = "1,Müller\n".encode("cp1252")
    assert rows(content, feed(header=["a", "b"], encoding="cp1252"))[0].data == {"a": "1", "b": "Müller"}
    refused = rows(content)[0].data
    assert isinstance(refused, RecordError)
    assert refused.reason == "invalid_utf8"


def test_header_with_duplicate_column_rejects_the_file() -> None:
    [row] = rows(b"a,b,a\n1,2,3\n", feed(columns=["a", "b"]))
    assert isinstance(row.data, RecordError)
    assert (row.data.reason, row.raw) == ("broken_file", b"a,b,a\n1,2,3\n")
