"""Errors of a source, in addition to `schemas/errors.py`. The class of an error decides the reaction of the runner.

| error              | raised when                                           | the runner                                |
|--------------------|-------------------------------------------------------|-------------------------------------------|
| ConfigError        | an address, a permission or a setting is wrong        | stops with exit code 2                    |
| AuthError          | the source refuses the credentials, even a new token  | stops with exit code 2                    |
| RetryableError     | the source is down, slow or sends half a response     | resumes at the saved cursor after a pause |
| RateLimitedError   | the rate limit or the quota of the account is used up | waits as requested; this is no failure    |
| CursorExpiredError | the source no longer accepts the cursor               | records a gap, resumes by time            |
| RecordError        | one record is invalid, or identifies no one           | writes a dead letter and continues        |
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, Self

from schemas.errors import ConfigError, RecordError, RetryableError
from schemas.records.normalisation.refusal import RefusedIdentifier


class AuthError(ConfigError):
    """Refused credentials. The text names the setting or environment variable to change."""


class RateLimitedError(RetryableError):
    """Rate limit of one stream or of the whole account. `retry_after` is the pause in seconds, if the source names one."""

    def __init__(self, message: str, retry_after: float | None = None, scope: Literal["stream", "account"] = "account") -> None:
        super().__init__(message, retry_after)
        self.scope = scope


class CursorExpiredError(RetryableError):
    """Cursor that the source no longer accepts. `oldest` is the first time that the source still holds, if it names one."""

    def __init__(self, message: str, oldest: datetime | None = None) -> None:
        super().__init__(message)
        self.oldest = oldest


class MissingIdentifierError(RecordError):
    """A record none of whose `kinds` holds a value that identifies a customer. The text has kinds and reasons, never values."""

    def __init__(self, kinds: Iterable[str], refused: Sequence[RefusedIdentifier] = ()) -> None:
        reasons = f"; refused: {', '.join(f'{kind} ({reason})' for kind, reason in refused)}" if refused else ""
        super().__init__("missing_identifier", f"none of {', '.join(kinds)} holds a value that identifies a customer{reasons}")
        self.refused = tuple(refused)

    def add_hint(self, text: str) -> Self:
        """Add the next step to the text."""
        self.detail += text
        return self
