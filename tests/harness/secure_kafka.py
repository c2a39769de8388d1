"""A real Kafka broker with four listeners: plaintext, SASL over TLS, mutual TLS, and OAuth tokens without TLS."""

import base64
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from deploy.local.kafka import broker
from deploy.local.ports import FREE_PORTS, Ports
from deploy.local.progress import no_output
from deploy.local.tools import fetch_tools
from tests.harness.stack import TOOLS
from tests.harness.tls_certificates import Certificates, make_certificates
from tests.harness.waiting import eventually

USER, PASSWORD = "touchline", "scram=password,1"
# Later lines of a properties file replace earlier ones.
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login},MUTUAL://127.0.0.1:{mutual},TOKEN://127.0.0.1:{token},\
CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login},MUTUAL://127.0.0.1:{mutual},TOKEN://127.0.0.1:{token}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,LOGIN:SASL_SSL,MUTUAL:SSL,TOKEN:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={server}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.mutual.ssl.client.auth=required
listener.name.login.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
listener.name.login.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.login.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.token.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
unsecuredLoginStringClaim_sub="broker";
"""


class SecureKafka(NamedTuple):
    """The port of each listener, and the certificates behind them."""

    plain: int
    login: int
    mutual: int
    token: int
    certificates: Certificates


@contextmanager
def running_secure_kafka(home: Path) -> Iterator[SecureKafka]:
    """Run a broker in `home` that has the user of this module for PLAIN and SCRAM."""
    certificates = make_certificates(home / "tls")
    login, mutual, token, *others = random.sample(FREE_PORTS, 7)
    ports = Ports(**dict(zip(Ports.model_fields, others, strict=True)))
    kafka = SecureKafka(ports.kafka, login, mutual, token, certificates)
    with patch.dict(os.environ, {"TOUCHLINE_TOOLS": os.environ.get("TOUCHLINE_TOOLS", str(TOOLS))}):
        fetch_tools(home, no_output)
        broker.prepare(home, ports)
        command = broker.command(home)
    properties = PROPERTIES.format(
        **kafka._asdict(),
        controller=ports.kafka_controller,
        server=certificates.server,
        ca=certificates.ca,
        user=USER,
        password=PASSWORD,
    )
    broker.config(home).write_text(broker.config(home).read_text() + properties)
    with (home / "kafka.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        eventually(lambda: broker.is_ready(ports) or process.poll() is not None, 60)
        assert process.poll() is None, (home / "kafka.log").read_text()[-2_000:]
        _create_user(kafka)
        yield kafka
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def make_token(subject: str = USER, seconds: float = 3_600) -> str:
    """Return a JWT without a signature; the broker's default validator accepts it."""
    now = time.time()
    parts = ({"alg": "none"}, {"sub": subject, "iat": now, "exp": now + seconds})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _create_user(kafka: SecureKafka) -> None:
    admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{kafka.plain}")
    for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):  # the broker takes one of a user in a request
        errors = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(USER, mechanism, PASSWORD)])
        assert errors == {USER: None}
    admin.close()
