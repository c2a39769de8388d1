"""Secret of the installation: the key of all identifier ids.

Without the secret, the ids on Kafka and in ClickHouse cannot be guessed from addresses or phone numbers. Every worker of one
installation needs the same secret. With another secret, all customers get other ids.
"""

from hashlib import blake2b
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from schemas.errors import ConfigError
from schemas.service.settings import EnvironmentSettings

ENV_PREFIX = "TOUCHLINE_IDENTITY_"
SECRET, SECRET_FILE = f"{ENV_PREFIX}SECRET", f"{ENV_PREFIX}SECRET_FILE"
MIN_CHARACTERS, MAX_KEY_BYTES = 16, 64  # BLAKE2b takes a key of at most 64 bytes
FINGERPRINT_CHARACTERS = 8
FINGERPRINT_USE = b"check"  # separates the fingerprint from ids, which the same function makes


class IdentitySecretSettings(EnvironmentSettings):
    """Secret of the installation, as a value or as a file."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True)

    secret: Annotated[
        SecretStr | None,
        Field(
            description="Secret key of all identifier ids: 16 to 64 characters, the same for all workers. Keep a copy: with"
            " another secret, customers get other ids. Not needed with a local stack."
        ),
    ] = None
    secret_file: Annotated[
        Path | None, Field(description="File with the secret, read where TOUCHLINE_IDENTITY_SECRET is not set.")
    ] = None


def load_secret() -> bytes:
    """Return the secret of the installation. Raises ConfigError, which names the setting, for a missing or short secret."""
    settings = IdentitySecretSettings()
    if settings.secret is not None:
        return _check(settings.secret.get_secret_value(), SECRET)
    if settings.secret_file is None:
        raise ConfigError(
            f"set {SECRET} or {SECRET_FILE} to the secret of this installation; `touchline up` makes that of a local stack"
        )
    try:
        return _check(settings.secret_file.read_text(), f"{SECRET_FILE} ({settings.secret_file})")
    except OSError as error:
        raise ConfigError(f"{SECRET_FILE}: cannot read {settings.secret_file} ({error.strerror}): correct the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{SECRET_FILE}: {settings.secret_file} is no text: write the secret as text") from error


def fingerprint(secret: bytes) -> str:
    """Return 8 hexadecimal characters by which workers notice that their secrets differ.

    Many secrets have the same fingerprint, so it does not reveal the secret.
    """
    return blake2b(secret, person=FINGERPRINT_USE).hexdigest()[:FINGERPRINT_CHARACTERS]


def _check(text: str, name: str) -> bytes:
    """Return the secret as bytes. A line break at its end, which editors add, does not count."""
    secret = text.strip().encode()
    if len(text.strip()) < MIN_CHARACTERS or len(secret) > MAX_KEY_BYTES:
        raise ConfigError(f"{name}: the secret has {MIN_CHARACTERS} to {MAX_KEY_BYTES} characters: set such a secret")
    return secret
