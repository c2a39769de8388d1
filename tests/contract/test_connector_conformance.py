"""Conformance suite: runs for every connector with a `cases/peer.py`.

No fault of the source, at no request, may lose a record or make the connector read more than necessary.
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from connectors.contract import UNBOUNDED, Batch, Connector, Cursor, Record, Window
from connectors.errors import AuthError, RateLimitedError
from connectors.http.rate_limit import RateLimit
from connectors.runtime.deduplication import StreamDeduplication
from connectors.runtime.encode import EncodedDeadLetter, encode_batch
from connectors.settings import secret_variable
from schemas.errors import RetryableError
from schemas.records.touchpoint import Touchpoint
from schemas.wire.codec import decode
from tests.harness.connector_peers import FAULT_TIMEOUT_SECONDS, FAULTS, SECONDS, Server, list_peers
from tests.harness.connectors import restart_deduplication, select_new
from tests.harness.memory_use import max_live_objects

PAGES = 3
DAY = datetime(2026, 3, 1, tzinfo=UTC)
MAX_FAILURES = 3


@pytest.fixture(params=list_peers())
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with Server(request.param, tmp_path).running() as running:
        yield running


def needs(server: Server, what: str) -> None:
    """Skip a test that does not apply: no time, no secrets, no tokens that expire, or no unknown fields."""
    has = {
        "time": server.connector().describe_stream(server.module.STREAM).is_timed,
        "secrets": bool(server.module.SECRETS),
        "tokens": bool(server.module.SECRETS) and server.peer.logins is not None,
        "fields": server.module.UNKNOWN_FIELDS,
    }
    if not has[what]:
        pytest.skip(f"no {what}")


def fill(server: Server, pages: float = PAGES, step: timedelta = timedelta(hours=1)) -> Counter[str]:
    """Fill some pages with records, one each `step`, and return their keys."""
    count = int(pages * server.module.PAGE) + 1
    return Counter(server.peer.put(number, DAY + number * step) for number in range(count))


def save(batch: Batch) -> Cursor:
    """Return the cursor as it comes back from Kafka."""
    text = json.dumps(dict(batch.cursor))
    assert len(text) < 65_536
    found: Cursor = json.loads(text)
    return found


def keys(batch: Batch) -> list[str]:
    return [record.key for record in batch.records if isinstance(record, Record)]


def read(
    connector: Connector, stream: str, cursor: Cursor | None = None, window: Window = UNBOUNDED
) -> tuple[Counter[str], Cursor]:
    """Read the stream to its end: return how often each key came, and the last cursor."""
    found: Counter[str] = Counter()
    for batch in connector.read(stream, cursor, window):
        found.update(keys(batch))
        cursor = save(batch)
    assert cursor is not None
    return found, cursor


def read_with_retries(server: Server, stream: str) -> tuple[Counter[str], list[RetryableError]]:
    """Retry from the last cursor after each failure, like the runner but without its pause."""
    connector = server.connector()
    found: Counter[str] = Counter()
    cursor: Cursor | None = None
    errors: list[RetryableError] = []
    while len(errors) <= MAX_FAILURES:
        try:
            for batch in connector.read(stream, cursor):
                found.update(keys(batch))
                cursor = save(batch)
        except RetryableError as error:
            errors.append(error)
            connector.rate_limit.block(0)
        else:
            return found, errors
    raise AssertionError(f"{errors}")


def test_reading_gives_every_record_once_in_small_batches(server: Server) -> None:
    wanted = fill(server)
    connector = server.connector()
    assert connector.check()
    assert server.module.STREAM in connector.list_streams({})
    found = list(connector.read(server.module.STREAM, None))
    assert Counter(key for batch in found for key in keys(batch)) == wanted
    assert max(len(batch.records) for batch in found) <= 2_000
    assert all(connector.map_record(record) for batch in found for record in batch.records if isinstance(record, Record))


def test_reading_resumes_after_any_batch_without_loss_or_repeats(server: Server) -> None:
    wanted = fill(server)
    stream = server.module.STREAM
    whole = list(server.connector().read(stream, None))
    assert len(whole) > PAGES or not server.connector().describe_stream(stream).is_timed
    for cut in range(1, len(whole)):
        before = Counter(key for batch in whole[:cut] for key in keys(batch))
        after, _ = read(server.connector(), stream, save(whole[cut - 1]))
        assert before + after == wanted, f"after batch {cut}"


def test_new_process_for_each_batch_reaches_the_end(server: Server) -> None:
    wanted = fill(server, step=timedelta(milliseconds=1))
    found: Counter[str] = Counter()
    cursor = None
    for _ in range(4 * PAGES):
        batch = next(server.connector().read(server.module.STREAM, cursor))
        found.update(keys(batch))
        cursor = save(batch)
        if found.keys() == wanted.keys():
            return
    pytest.fail(f"{len(wanted) - len(found)} of {len(wanted)} records are missing")


def test_records_of_equal_time_are_not_lost_at_page_edges(server: Server) -> None:
    wanted = fill(server, step=timedelta(0))
    assert read(server.connector(), server.module.STREAM)[0] == wanted


def test_next_round_reads_new_and_late_records_and_no_more_than_its_overlap(server: Server) -> None:
    wanted = fill(server)
    connector = server.connector()
    lookback = connector.describe_stream(server.module.STREAM).lookback
    _, cursor = read(connector, server.module.STREAM)
    newest = DAY + (len(wanted) - 1) * timedelta(hours=1)
    fresh = {server.peer.put(90_000, newest + timedelta(minutes=1)), server.peer.put(90_001, newest - lookback / 2)}
    found, again = read(connector, server.module.STREAM, cursor)
    assert fresh <= found.keys()
    assert len(found) <= len(fresh) + lookback // timedelta(hours=1) + 1
    assert read(connector, server.module.STREAM, again)[0].keys() <= found.keys()


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_at_any_request_loses_no_record(server: Server, fault: str) -> None:
    wanted = fill(server, pages=2)
    server.connector().check()
    read(server.connector(), server.module.STREAM)
    whole = len(server.requests)
    server.timeout_seconds = FAULT_TIMEOUT_SECONDS if fault == "timeout" else server.timeout_seconds
    for number in range(1, whole + 1):
        server.peer.expire()
        server.requests.clear()
        server.faults = {number: fault}
        found, errors = read_with_retries(server, server.module.STREAM)
        if len(server.requests) < number:
            break
        assert found == wanted, f"at request {number}"
        slow = fault == "timeout" and errors  # on a busy machine a correct response may be late, too
        assert slow or len(errors) == (0 if fault == "token" else 1), f"at request {number}: {errors}"
        for error in errors:
            assert isinstance(error, RateLimitedError) == fault.startswith("429")
            assert "\n" not in str(error)
            if fault.startswith("429"):
                assert error.retry_after == pytest.approx(SECONDS, abs=2)
    assert number > len(server.module.SECRETS)


def test_no_request_is_sent_while_the_rate_limit_blocks(server: Server) -> None:
    fill(server)
    connector = server.connector()
    server.faults = {len(server.module.SECRETS) + 1: "429 seconds"}
    with pytest.raises(RateLimitedError):
        read(connector, server.module.STREAM)
    with pytest.raises(RateLimitedError) as waiting:
        read(connector, server.module.STREAM)
    assert len(server.requests) == len(server.module.SECRETS) + 1
    assert 0 < (waiting.value.retry_after or 0) <= SECONDS


def test_refused_credentials_raise_an_error_with_the_variable_to_change(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(server, "secrets")
    for field in server.module.SECRETS:
        monkeypatch.setitem(server.module.SECRETS, field, "changed at the source")
    with pytest.raises(AuthError) as raised:
        server.connector().check()
    variables = [secret_variable(server.module.SETTINGS["name"], field) for field in server.module.SECRETS]
    assert any(name in str(raised.value) for name in variables), f"{raised.value}: contains none of {variables}"


def test_expired_token_is_renewed_once(server: Server) -> None:
    needs(server, "tokens")
    wanted = fill(server)
    connector = server.connector()
    batches = connector.read(server.module.STREAM, None)
    found = Counter(keys(next(batches)))
    server.peer.expire()
    found.update(key for batch in batches for key in keys(batch))
    assert found == wanted
    assert server.peer.logins == 2


def test_delete_is_reported_or_declared_invisible(server: Server) -> None:
    fill(server)
    connector = server.connector()
    cursors = {stream: read(connector, stream)[1] for stream in connector.list_streams({})}
    gone = server.peer.delete(0, DAY + timedelta(days=30))
    found = [one for stream in cursors for one in records(connector, stream, cursors[stream]) if one.key == gone]
    if {connector.describe_stream(stream).deletes for stream in cursors} == {"none"}:
        assert found == []
    else:
        assert found[-1].is_deleted
        assert connector.map_record(found[-1]).type.endswith(".deleted")


def test_record_from_the_future_waits_and_hides_no_other(server: Server) -> None:
    needs(server, "time")
    wanted = fill(server)
    connector = server.connector()
    ahead = server.peer.put(90_000, server.now() + timedelta(hours=2))
    found, cursor = read(connector, server.module.STREAM)
    assert found == wanted
    late = server.peer.put(90_001, server.now() - timedelta(seconds=1))
    found, cursor = read(connector, server.module.STREAM, cursor)
    assert late in found
    assert ahead not in found
    server.clock = timedelta(hours=3)
    assert ahead in read(connector, server.module.STREAM, cursor)[0]


@pytest.mark.parametrize("hours", [-5, 5])
def test_wrong_local_clock_does_not_matter(server: Server, hours: int) -> None:
    needs(server, "time")
    server.clock = timedelta(hours=hours)
    wanted = fill(server, pages=1)
    wanted[server.peer.put(90_000, server.now() - timedelta(seconds=2))] = 1
    server.peer.put(90_001, server.now() + timedelta(hours=1))
    assert read(server.connector(), server.module.STREAM)[0] == wanted


def test_unknown_field_becomes_an_attribute_and_is_logged_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    needs(server, "fields")
    server.peer.put(1, DAY, loyalty_tier="gold")
    server.peer.put(2, DAY, loyalty_tier="gold", huge="x" * 5_000)
    connector = server.connector()
    found = [connector.map_record(record) for record in records(connector, server.module.STREAM)]
    assert [touchpoint.attributes["loyalty_tier"] for touchpoint in found] == ["gold", "gold"]
    assert caplog.text.count("loyalty_tier") == 1
    assert "gold" not in caplog.text


def records(connector: Connector, stream: str, cursor: Cursor | None = None) -> list[Record]:
    return [record for batch in connector.read(stream, cursor) for record in batch.records if isinstance(record, Record)]


def test_item_without_any_of_its_fields_does_not_stop_the_connector(server: Server) -> None:
    needs(server, "fields")
    whole = server.peer.items[server.peer.put(0, DAY)]
    wanted = fill(server, pages=1)
    for number, field in enumerate(whole):
        key = server.peer.put(50_000 + number, DAY + number * timedelta(hours=2))
        server.peer.items[key][field] = None
    connector = server.connector()
    batches = connector.read(server.module.STREAM, None)
    encoded = [each for batch in batches for each in encode_batch(connector, server.module.STREAM, batch)]
    letters = {each.id for each in encoded if isinstance(each, EncodedDeadLetter)}
    published = sum(not isinstance(each, EncodedDeadLetter) for each in encoded)
    assert letters
    assert published + len(letters) == len(wanted) + len(whole)


def test_at_most_two_pages_are_in_memory(server: Server) -> None:
    needs(server, "time")
    fill(server, pages=8)
    batches = server.connector().read(server.module.STREAM, None)
    assert 0 < max_live_objects(batches, Record, 8) <= 2 * server.module.PAGE


def test_window_holds_as_many_records_as_the_source_counts(server: Server) -> None:
    needs(server, "time")
    count = len(fill(server))
    connector = server.connector()
    window = Window(DAY + timedelta(hours=5), DAY + timedelta(hours=count - 4))
    found, _ = read(connector, server.module.STREAM, None, window)
    assert len(found) == count - 9
    assert connector.count(server.module.STREAM, window) in (None, count - 9)


def test_records_older_than_the_start_are_not_read(server: Server) -> None:
    wanted = fill(server, pages=1)
    start = DAY + timedelta(hours=len(wanted) - 3)
    found, cursor = read(server.connector(), server.module.STREAM, None, Window(start))
    assert found == Counter(list(wanted)[-3:])
    fresh = server.peer.put(90_000, DAY + timedelta(days=9))
    assert fresh in read(server.connector(), server.module.STREAM, cursor, Window(start))[0]


def test_changed_record_is_another_event_and_an_unchanged_one_the_same(server: Server) -> None:
    server.peer.put(1, DAY)
    connector = server.connector()
    first = events(connector, server.module.STREAM)
    assert events(server.connector(), server.module.STREAM) == first
    server.peer.put(1, DAY + timedelta(hours=1))
    assert events(connector, server.module.STREAM).isdisjoint(first)


def events(connector: Connector, stream: str) -> set[UUID]:
    return {touchpoint.event_id for touchpoint in map(connector.map_record, records(connector, stream))}


def test_overlap_read_again_counts_as_repeated_and_is_not_published(server: Server) -> None:
    needs(server, "time")
    server.peer.put(1, DAY)
    connector, stream = server.connector(), server.module.STREAM
    spec = connector.describe_stream(stream)
    before = StreamDeduplication(None, spec)
    [first] = [select_new(connector, stream, batch, before) for batch in connector.read(stream, None)]
    after = restart_deduplication(before, spec)
    [again] = [select_new(connector, stream, batch, after) for batch in connector.read(stream, None)]
    assert (len(first.touchpoints), len(again.touchpoints), again.repeated) == (1, 0, 1)
    assert again.position_at == first.position_at is not None
    assert isinstance(connector.rate_limit, RateLimit)
    fields = decode(first.touchpoints[0][1])[1]
    assert set(fields) >= set(Touchpoint.model_fields)
