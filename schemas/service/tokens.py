"""OAuth bearer tokens from a command, in the forms that kafka-python and aiokafka accept.

Both clients insist on a subclass of their own base class, so this is the one module of `schemas` that names the clients.
It imports them only when a token is configured.
"""

import asyncio
import base64
import json
import shlex
import subprocess
import time
from functools import cache
from threading import Lock
from typing import Any

COMMAND_SECONDS = 20.0
RENEWAL_SECONDS = 30.0


class TokenError(OSError):
    """The token command failed. It is an OSError because clients retry those: the identity provider may be down for a moment."""


class TokenCommandError(TokenError):
    """The setting is wrong: no such command can be run."""


class TokenCommand:
    """Source of tokens: runs a command without a shell and reuses the token until shortly before it expires. Thread-safe.

    A token that is not a JWT with an `exp` claim is fetched again for each connection. The command's own error output
    goes to the error output of this process.
    """

    def __init__(self, command: str) -> None:
        self._command = command
        self._lock = Lock()
        self._token = ""
        self._expires_at = 0.0

    def fetch(self) -> str:
        """Return a valid token. Raises TokenError."""
        with self._lock:
            if time.time() > self._expires_at - RENEWAL_SECONDS:
                self._token = self._run()
                self._expires_at = read_expiry(self._token)
            return self._token

    def _run(self) -> str:
        try:
            result = subprocess.run(  # noqa: S603 - no shell; the command comes from the environment, as the credentials do
                shlex.split(self._command), stdout=subprocess.PIPE, text=True, check=True, timeout=COMMAND_SECONDS
            )
        except subprocess.CalledProcessError as error:
            raise TokenError(f"the command ended with exit code {error.returncode}") from None
        except subprocess.TimeoutExpired:
            raise TokenError(f"the command did not end within {COMMAND_SECONDS:.0f} s") from None
        except (FileNotFoundError, PermissionError, IndexError, ValueError) as error:
            raise TokenCommandError(f"the command cannot be run ({type(error).__name__})") from None
        except OSError as error:
            raise TokenError(f"the command did not start ({type(error).__name__})") from None
        token = result.stdout.strip()
        if not token:
            raise TokenError("the command printed no token")
        return token


@cache
def token_command(command: str) -> TokenCommand:
    """Return the source of tokens for a command line; all clients of a process share it."""
    return TokenCommand(command)


def read_expiry(token: str) -> float:
    """Return the `exp` claim of a JWT in seconds since 1970, or 0 for another kind of token. The signature is not checked."""
    try:
        body = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0


class _BlockingProvider:
    """Token provider for kafka-python."""

    def __init__(self, command: TokenCommand) -> None:
        self._command = command

    def token(self) -> str:
        return self._command.fetch()

    def extensions(self) -> dict[str, str]:
        return {}


class _AsyncProvider:
    """Token provider for aiokafka. The command runs in a thread, so that it does not hold up the event loop."""

    def __init__(self, command: TokenCommand) -> None:
        self._command = command

    async def token(self) -> str:
        return await asyncio.to_thread(self._command.fetch)


def kafka_python_provider(command: str) -> Any:
    """Return the `sasl_oauth_token_provider` of a kafka-python client."""
    from kafka.net.sasl.oauth import AbstractTokenProvider

    AbstractTokenProvider.register(_BlockingProvider)
    return _BlockingProvider(token_command(command))


def aiokafka_provider(command: str) -> Any:
    """Return the `sasl_oauth_token_provider` of an aiokafka client."""
    from aiokafka.abc import AbstractTokenProvider

    AbstractTokenProvider.register(_AsyncProvider)
    return _AsyncProvider(token_command(command))
