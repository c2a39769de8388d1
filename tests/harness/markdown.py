"""Reads the project's Markdown pages for the documentation test: inline code, code blocks, links and counts."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}\S.*\n?(?: {4}.*\n?|\n(?= {4}))*)")
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NUMBERS = [
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
]
COUNT = re.compile(rf"\b({'|'.join(NUMBERS)}|\d+) ((?:[a-z]+ )?[a-z]+)\b", re.IGNORECASE)


class Snippet(NamedTuple):
    """A piece of code on a page."""

    page: Path
    line: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def tracked_files() -> frozenset[str]:
    """Return the paths of all files that git tracks or would add, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    return frozenset(name for name in listed if name and (ROOT / name).exists())


@cache
def pages() -> tuple[Path, ...]:
    """Return every Markdown page of the project."""
    return tuple(ROOT / name for name in sorted(tracked_files()) if name.endswith(".md"))


def inline_code(page: Path) -> Iterator[Snippet]:
    """Yield the text of each inline code span outside of code blocks."""
    text = FENCE.sub(_blank, page.read_text(encoding="utf-8"))
    for match in INLINE.finditer(text):
        yield Snippet(page, _line(text, match.start()), match[1])


def code_lines(page: Path) -> Iterator[Snippet]:
    """Yield each line of the fenced and indented code blocks."""
    text = page.read_text(encoding="utf-8")
    for match in [*FENCE.finditer(text), *INDENTED.finditer(FENCE.sub(_blank, text))]:
        first = _line(text, match.start())
        for number, line in enumerate(match[0].split("\n")):
            if line.strip() and not line.startswith("```"):
                yield Snippet(page, first + number, line.strip())


def all_code(page: Path) -> Iterator[Snippet]:
    """Yield inline code and the lines of code blocks."""
    yield from inline_code(page)
    yield from code_lines(page)


def links(page: Path) -> Iterator[Snippet]:
    """Yield the targets of links that stay in the project."""
    text = FENCE.sub(_blank, page.read_text(encoding="utf-8"))
    for match in LINK.finditer(text):
        if "://" not in match[1] and not match[1].startswith(("#", "mailto:")):
            yield Snippet(page, _line(text, match.start()), match[1].partition("#")[0])


def counts(page: Path) -> Iterator[tuple[Snippet, int, str]]:
    """Yield each number with the one or two words after it, in lower case."""
    text = FENCE.sub(_blank, page.read_text(encoding="utf-8"))
    for match in COUNT.finditer(text):
        word = match[1].lower()
        number = NUMBERS.index(word) if word in NUMBERS else int(word)
        yield Snippet(page, _line(text, match.start()), match[0]), number, match[2].lower()


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
