"""Every page is true in what a program can check: paths, links, make verbs, commands, options, settings, names and counts."""

import re
import shlex
import sysconfig
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import click
import pytest
from prometheus_client import REGISTRY

from deploy.cli import touchline
from deploy.commands.settings import describe, render_page, settings_models
from schemas.service import telemetry  # noqa: F401 - declares the metrics
from schemas.wire.topics import TOPICS
from tests.harness.markdown import ROOT, Snippet, all_code, counts, inline_code, links, pages, tracked_files

MAX_LINE = 130
PACKAGES = Path(sysconfig.get_path("purelib"))
MIN_TOTAL = 5
HISTORY = ("CHANGELOG.md", "DECISIONS.md")
SUFFIXES = (".py", ".md", ".yaml", ".yml", ".sql", ".toml", ".json", ".avsc", ".txt", ".xml", ".properties", ".in")
PLACEHOLDER = re.compile(r"<[^>]+>|…|NAME\b|FILE\b")
PATHLIKE = re.compile(r"^\.?[\w<>…*.-]+(?:/[\w<>…*.{},-]+)*/?$")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
SETTING = re.compile(r"\bTOUCHLINE_[A-Z][A-Z_]*[A-Z]\b")
TOUCHLINE_NAME = re.compile(r"\btouchline_[a-z_]+[a-z]\b")
TOPIC = re.compile(r"\btouchline\.[a-z][a-z-]*[a-z]\b")
CLASS = re.compile(r"^[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+$")
SHELL = re.compile(r"\s*(?:&&|\|\||;|\||>|<|&|#)\s*")

PAGE = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


@PAGE
def test_no_line_is_longer_than_130_characters(page: Path) -> None:
    long = [number for number, line in enumerate(page.read_text().split("\n"), 1) if len(line) > MAX_LINE]
    assert not long, f"{page.relative_to(ROOT)}: lines {long}"


@PAGE
def test_links_lead_to_files(page: Path) -> None:
    broken = [link.place + " " + link.text for link in links(page) if not (page.parent / link.text).exists()]
    assert not broken


@PAGE
def test_paths_exist(page: Path) -> None:
    missing = [f"{each.place} {each.text}" for each in inline_code(page) if _is_path(each.text) and not _exists(each)]
    assert not missing


@PAGE
def test_make_verbs_exist(page: Path) -> None:
    verbs = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [(each.place, match) for each in all_code(page) for match in re.findall(r"^make ([a-z-]+)", each.text)]
    assert not [(place, verb) for place, verb in named if verb not in verbs]


@PAGE
def test_commands_and_options_exist(page: Path) -> None:
    wrong = [f"{each.place} {line}: {fault}" for each in all_code(page) for line in _commands(each) if (fault := _fault(line))]
    assert not wrong


@PAGE
def test_settings_exist(page: Path) -> None:
    known = _known_text("TOUCHLINE_")
    named = [(each.place, name) for each in all_code(page) for name in SETTING.findall(each.text)]
    assert not [(place, name) for place, name in named if name not in known and not _belongs_to_an_instance(name)]


@PAGE
def test_metrics_roles_and_databases_exist(page: Path) -> None:
    known = _metrics() | _known_text("touchline_")
    named = [(each.place, name) for each in inline_code(page) for name in TOUCHLINE_NAME.findall(each.text)]
    assert not [(place, name) for place, name in named if name not in known]


@PAGE
def test_topics_and_views_exist(page: Path) -> None:
    known = {topic.name for topic in TOPICS} | _known_text("touchline.")
    named = [(each.place, name) for each in inline_code(page) for name in TOPIC.findall(each.text)]
    assert not [(place, name) for place, name in named if name not in known]


@PAGE
def test_classes_exist(page: Path) -> None:
    named = [(each.place, each.text) for each in inline_code(page) if CLASS.match(each.text)]
    assert not [(place, name) for place, name in named if not re.search(rf"\b{name}\b", _code())]


@PAGE
def test_stated_counts_hold(page: Path) -> None:
    """A number below five usually means a part ("two tables"), and pages of history state the counts of their day."""
    if page.name in HISTORY:
        return
    totals = [(each, number, _count(words)) for each, number, words in counts(page) if number >= MIN_TOTAL or words == "signals"]
    wrong = [f"{each.place} {each.text}: there are {count}" for each, number, count in totals if count not in (None, number)]
    assert not wrong


def test_the_page_of_settings_is_generated_from_the_models_and_complete() -> None:
    assert (ROOT / "deploy" / "SETTINGS.md").read_text() == render_page(), "run `make settings`"
    declared = set(re.findall(r"^class (\w+)\([^)]*\bEnvironmentSettings\)", _code(), re.MULTILINE))
    assert declared == {model.__name__ for model in settings_models().values()}
    assert all(setting.meaning for model in settings_models().values() for setting in describe(model))


def test_the_tests_readme_lists_every_harness_module() -> None:
    text = (ROOT / "tests" / "README.md").read_text()
    modules = {path.name for path in (ROOT / "tests" / "harness").glob("*.py")} - {"__init__.py"}
    assert not [name for name in modules if f"`{name}`" not in text]


def test_no_test_imports_from_a_conftest_or_from_another_test() -> None:
    pattern = re.compile(
        r"^\s*(?:from tests\S*\.(?:conftest|test_\w+) import|import tests\S*\.(?:conftest|test_\w+)\s)", re.MULTILINE
    )
    sources = [ROOT / name for name in tracked_files() if name.startswith("tests/") and name.endswith(".py")]
    assert not [str(path.relative_to(ROOT)) for path in sources if pattern.search(path.read_text(encoding="utf-8"))]


def test_the_checks_find_faults(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    assert _fault("touchline connects files")
    assert _fault("touchline connect files --setings x")
    assert not _fault("touchline connect files --settings x")
    assert not _exists(Snippet(page, 1, "connectors/nothing/README.md"))
    assert _exists(Snippet(page, 1, "connectors/<name>/README.md"))
    assert _count("alerts") == len([*(ROOT / "deploy" / "alerts").glob("*/rule.yaml")])


def _is_path(text: str) -> bool:
    if not PATHLIKE.match(text) or text.startswith("--"):
        return False
    first = text.split("/", maxsplit=1)[0]
    return text.endswith(SUFFIXES) or ("/" in text and (ROOT / first).is_dir())


def _exists(each: Snippet) -> bool:
    """Return whether the path is in the project, below the page's folder, written by the software, or in an installed package."""
    if each.text.startswith(".touchline/"):
        return True
    patterns = _alternatives(PLACEHOLDER.sub("*", each.text).rstrip("/"))
    below = [path for path in tracked_files() if (ROOT / path).is_relative_to(each.page.parent)]
    return any(
        _matches(each.page.parent, one)
        or _matches(ROOT, one)
        or _matches(PACKAGES, one)
        or any(fnmatch(path, f"*/{one}") for path in below)
        or _is_named_anywhere(one)
        for one in patterns
    )


def _matches(root: Path, pattern: str) -> bool:
    return any(root.glob(pattern)) if "*" in pattern else (root / pattern).exists()


def _alternatives(pattern: str) -> list[str]:
    braces = re.search(r"\{([^}]*)\}", pattern)
    if not braces:
        return [pattern]
    return [pattern[: braces.start()] + one + pattern[braces.end() :] for one in braces[1].split(",")]


def _is_named_anywhere(name: str) -> bool:
    """A bare file name may be that of each component's folder, as `connector.py`, or one that code writes, as `stack.json`."""
    if "/" in name:
        return False
    return any(path.rpartition("/")[2] == name for path in tracked_files()) or name in _code()


def _commands(each: Snippet) -> Iterator[str]:
    for part in SHELL.split(each.text.removeprefix("$ ")):
        words = part.split()
        while words and "=" in words[0] and words[0].isupper() is False and re.match(r"^[A-Z_]+=", words[0]):
            words = words[1:]
        if words and words[0].rpartition("/")[2] == "touchline" and not words[0].startswith("/"):
            yield part[part.index("touchline") :].strip()


def _fault(line: str) -> str | None:
    """Return what is wrong with a `touchline …` line; None if its command and options exist."""
    command: click.Command = touchline
    try:
        words = shlex.split(line, comments=True)[1:]
    except ValueError:
        words = line.split()[1:]
    for word in words:
        if word.startswith("--"):
            break
        if not isinstance(command, click.Group) or not re.match(r"^[a-z-]+(\|[a-z-]+)*$", word):
            break
        for name in word.split("|"):
            found = command.get_command(click.Context(command), name)
            if found is None:
                return f"there is no command {name}"
        command = found  # type: ignore[assignment]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [option for option in OPTION.findall(line) if option not in known | {"--help", "--version"}]
    return f"there is no option {unknown[0]}" if unknown else None


def _belongs_to_an_instance(name: str) -> bool:
    """Secrets of connector instances have names such as TOUCHLINE_SHOP_TOKEN, where `shop` is a placeholder."""
    fields = {field.upper() for field in _secret_fields()}
    return any(name.endswith(f"_{field}") for field in fields)


@cache
def _secret_fields() -> frozenset[str]:
    texts = (ROOT / path for path in tracked_files() if path.startswith("connectors/") and path.endswith("settings.py"))
    return frozenset(re.findall(r"^    (\w+): SecretStr", "\n".join(text.read_text() for text in texts), re.MULTILINE)) | {"KEYS"}


@cache
def _code() -> str:
    """Return the text of all code and configuration, this test excepted."""
    suffixes = (".py", ".toml", ".sql", ".yaml", ".xml", "Makefile")
    names = [name for name in sorted(tracked_files()) if name.endswith(suffixes) and Path(name).name != Path(__file__).name]
    return "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)


@cache
def _known_text(prefix: str) -> frozenset[str]:
    """Return every name with this prefix that code, SQL or configuration uses."""
    return frozenset(re.findall(rf"\b{re.escape(prefix)}[A-Za-z_-]*[A-Za-z]", _code())) | _settings_of_models()


@cache
def _settings_of_models() -> frozenset[str]:
    return frozenset(setting.variable for model in settings_models().values() for setting in describe(model))


@cache
def _metrics() -> frozenset[str]:
    families = [metric for metric in REGISTRY.collect() if metric.name.startswith("touchline_")]
    suffixes = ("", "_total", "_bucket", "_count", "_sum")
    return frozenset(f"{family.name}{suffix}" for family in families for suffix in suffixes)


def _count(words: str) -> int | None:
    """Return how many of these there are; None if the words name nothing that is counted here."""
    globs: dict[str, Iterable[Path]] = {
        "alerts": (ROOT / "deploy" / "alerts").glob("*/rule.yaml"),
        "connectors": (ROOT / "connectors").glob("*/connector.py"),
        "tables": (ROOT / "sinks" / "tables").glob("*/table.py"),
        "signals": (ROOT / "streams" / "signals").glob("*/signal.py"),
    }
    if words.split(maxsplit=1)[0] == "questions":
        return len(re.findall(r"^## ", (ROOT / "sinks/views/COOKBOOK.md").read_text(), re.MULTILINE))
    if words.split(maxsplit=1)[0] == "topics":
        return len(TOPICS)
    found = globs.get(words.split(maxsplit=1)[0])
    return None if found is None else len(list(found))
