"""Records that a rebalance discards, and whether they are read again."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from kafka import KafkaAdminClient, KafkaProducer

from deploy.local.state import Stack
from schemas.service.connection import KafkaSettings
from tests.losses.line import HERE, Partition, running
from tests.losses.work import Waiting, Work, value

# engine, committed before: lost offsets
DISCARDED = [("stock", None, {0, 1, 2, 3, 4}), ("stock", 2, set()), ("ours", None, set()), ("ours", 2, set())]


@pytest.mark.parametrize(("engine", "committed", "lost"), DISCARDED)
def test_records_fetched_during_a_rebalance_are_read_again(engine: str, committed: int | None, lost: set[int]) -> None:
    async def scenario() -> None:
        work = Work()
        source = Partition([value(number) for number in range(10)], committed=committed, at_once=5)
        source.answer.clear()
        async with running(engine, source, work) as line:
            await line.until(source.fetched.is_set)
            line.app.consumer.stop_flow()  # the rebalance begins during a fetch
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
def test_records_fetched_between_seeks_are_read_again(engine: str, after: int, lost: set[int]) -> None:
    """Recovery resumes partitions, seeks them one by one, and then clears the queues. Faust takes the gap for compaction."""

    async def scenario() -> None:
        work = Waiting(at=5)
        source = Partition([], first=5, committed=5, at_once=1)
        async with running(engine, source, work) as line:
            source.seek_done.clear()
            seek = asyncio.create_task(line.app.consumer.perform_seek())
            await line.settle()
            source.extend([value(number) for number in range(5, 10)])
            await line.settle()
            assert source.fetched.is_set() == (engine == "stock")
            source.seek_done.set()  # now the other partitions are sought
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
def test_cleared_queue_pauses_no_partition(engine: str, sent: list[int]) -> None:
    """Faust resumes a partition when a stream has emptied its full queue; `clear` empties it without resuming."""

    async def scenario() -> None:
        work = Work()
        source = Partition([], first=10, committed=10, at_once=8)
        async with running(engine, source, work, stream_buffer_maxsize=8) as line:
            consumer = line.app.consumer
            await line.settle()
            source.extend([value(number) for number in range(10, 18)])
            for record in source.records:  # without a pause, so that the stream cannot read
                await line.app.topics.on_message(consumer._to_message(HERE, record))
            line.app.flow_control.clear()
            await consumer.perform_seek()
            await line.settle()
            assert (work.sent, HERE in consumer._get_active_partitions()) == (sent, bool(sent))

    asyncio.run(scenario())


@pytest.mark.integration
def test_aiokafka_does_not_seek_a_partition_without_a_committed_offset(stack: Stack) -> None:
    """This causes the losses above, and `Partition` imitates it. On a real Kafka, the records are not read again."""
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
