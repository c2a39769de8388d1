"""Makes certificates by openssl: a CA with a server and a client certificate, and a second CA with a client certificate."""

import subprocess
from pathlib import Path
from typing import NamedTuple

KEY_PASSWORD = "key-password"
SERVER_NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"


class Certificates(NamedTuple):
    """PEM files. The files of a server or client hold first the key, then the certificate; Kafka and Python read both."""

    ca: Path
    other_ca: Path
    server: Path
    client: Path
    client_certificate: Path
    client_encrypted_key: Path
    other_client: Path


def make_certificates(folder: Path) -> Certificates:
    """Make all certificates in a new folder."""
    folder.mkdir(parents=True)
    ca, ca_key = _make_ca(folder, "ca")
    other_ca, other_key = _make_ca(folder, "other-ca")
    encrypted = folder / "client-encrypted.key"
    server = _make_pair(folder, "server", ca, ca_key, SERVER_NAMES)
    client = _make_pair(folder, "client", ca, ca_key)
    password = f"pass:{KEY_PASSWORD}"
    _openssl("pkcs8", "-topk8", "-in", folder / "client.key", "-out", encrypted, "-passout", password)
    other_client = _make_pair(folder, "other-client", other_ca, other_key)
    return Certificates(ca, other_ca, server, client, folder / "client.crt", encrypted, other_client)


def _make_ca(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    extension = "keyUsage=critical,keyCertSign,cRLSign"
    _openssl(*_request(name, key), "-x509", "-days", "7", "-out", certificate, "-addext", extension)
    return certificate, key


def _make_pair(folder: Path, name: str, ca: Path, ca_key: Path, extension: str = "extendedKeyUsage=clientAuth") -> Path:
    request, key, certificate, pair = (folder / f"{name}.{kind}" for kind in ("csr", "key", "crt", "pem"))
    extensions = folder / f"{name}.ext"
    extensions.write_text(extension)
    _openssl(*_request(name, key), "-out", request)
    signed = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "7", "-extfile", extensions)
    _openssl("x509", "-req", "-in", request, *signed, "-out", certificate)
    pair.write_text(key.read_text() + certificate.read_text())
    return pair


def _request(name: str, key: Path) -> tuple[str | Path, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    return ("req", "-new", *curve, "-nodes", "-keyout", key, "-subj", f"/CN={name}")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)
