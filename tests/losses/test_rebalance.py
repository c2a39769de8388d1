"""What a rebalance throws away, and whether it comes again."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka import KafkaAdminClient, KafkaProducer

from deploy.local.state import Stack
from schemas.service.connection import KafkaSettings
from tests.losses.line import HERE, Partition, running
from tests.losses.work import Waiting, Work, value

# engine, committed before: lost
THROWN_AWAY = [("stock", None, {0, 1, 2, 3, 4}), ("stock", 2, set()), ("ours", None, set()), ("ours", 2, set())]


@pytest.mark.parametrize(("engine", "committed", "lost"), THROWN_AWAY)
def test_what_was_fetched_during_a_rebalance_comes_again(engine: str, committed: int | None, lost: set[int]) -> None:
    async def scenario() -> None:
        work = Work()
        source = Partition([value(number) for number in range(10)], committed=committed, at_once=5)
        source.answer.clear()
        async with running(engine, source, work) as line:
            await line.until(source.fetched.is_set)
            line.app.consumer.stop_flow()  # the rebalance begins while a fetch is under way
            source.answer.set()
            await line.settle()
            await line.app.consumer.perform_seek()  # and ends
            line.app.consumer.resume_flow()
            await line.until(lambda: 9 in work.sent)
            await line.settle()
            assert await line.commit() == 10
            assert line.lost() - set(range(committed or 0)) == lost

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "after", "lost"), [("stock", 11, {6, 7, 8, 9}), ("ours", 15, set())])
def test_what_was_fetched_while_partitions_are_sought_comes_again(engine: str, after: int, lost: set[int]) -> None:
    """Recovery resumes partitions, seeks them one by one, and then empties the queues; Faust takes the gap for compaction."""

    async def scenario() -> None:
        work = Waiting(at=5)
        source = Partition([], first=5, committed=5, at_once=1)
        async with running(engine, source, work) as line:
            source.sought.clear()
            seek = asyncio.create_task(line.app.consumer.perform_seek())
            await line.settle()
            source.extend([value(number) for number in range(5, 10)])
            await line.settle()
            assert source.fetched.is_set() == (engine == "stock")
            source.sought.set()  # the other partitions are sought, too
            await seek
            line.app.flow_control.resume()
            work.gate.set()
            source.extend([value(number) for number in range(10, 15)])
            await line.until(lambda: 14 in work.sent)
            await line.settle()
            assert await line.commit() == after
            assert line.lost() == lost

    asyncio.run(scenario())


@pytest.mark.parametrize(("engine", "sent"), [("stock", []), ("ours", list(range(10, 18)))])
def test_a_queue_that_is_emptied_under_a_waiting_stream_stops_no_partition(engine: str, sent: list[int]) -> None:
    """Faust fetches a partition again when its full queue was read empty; emptied by `clear`, nobody says so."""

    async def scenario() -> None:
        work = Work()
        source = Partition([], first=10, committed=10, at_once=8)
        async with running(engine, source, work, stream_buffer_maxsize=8) as line:
            consumer = line.app.consumer
            await line.settle()
            source.extend([value(number) for number in range(10, 18)])
            for record in source.records:  # without a pause in which the stream could begin to read
                await line.app.topics.on_message(consumer._to_message(HERE, record))
            line.app.flow_control.clear()
            await consumer.perform_seek()
            await line.settle()
            assert (work.sent, HERE in consumer._get_active_partitions()) == (sent, bool(sent))

    asyncio.run(scenario())


@pytest.mark.integration
def test_aiokafka_leaves_a_partition_without_a_committed_offset_where_it_is(stack: Stack) -> None:
    """The ground of what is lost above, and what `Partition` has from it: on real Kafka, records read are not read again."""
    topic = TopicPartition("seek-to-committed", 0)
    admin = KafkaAdminClient(**KafkaSettings().kafka_python())
    admin.create_topics({topic.topic: {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    producer = KafkaProducer(**KafkaSettings().kafka_python())
    for number in range(3):
        producer.send(topic.topic, b"%d" % number)
    producer.close()

    async def scenario() -> tuple[int, int]:
        options = KafkaSettings().aiokafka()
        consumer = AIOKafkaConsumer(**options, group_id="losses", auto_offset_reset="earliest", enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([topic])
            positions = []
            for committed in (None, 1):
                if committed:
                    await consumer.commit({topic: committed})
                await consumer.seek_to_committed()
                while await consumer.position(topic) < 3:
                    await consumer.getone()
                await consumer.seek_to_committed()
                positions.append(await consumer.position(topic))
            return positions[0], positions[1]
        finally:
            await consumer.stop()

    assert asyncio.run(asyncio.wait_for(scenario(), 30)) == (3, 1)
