"""What a source can do to a connector beyond `schemas/errors.py`, each a kind of what the runner knows to do already.

| error              | raised when                                             | the runner                                      |
|--------------------|---------------------------------------------------------|--------------------------------------------------|
| ConfigError        | an address, a right, a setting is wrong                 | stops, exit code 2                              |
| AuthError          | the credentials are refused, with a fresh token, too    | stops, exit code 2                              |
| RetryableError     | the source is down, slow, or answers half               | goes on at the saved cursor after a random pause|
| RateLimitedError   | the rate or the day's quota is used up, or our share    | waits as told; that is no failure               |
| CursorExpiredError | the source no longer knows the cursor                   | records a gap, goes on by time where it stood   |
| RecordError        | one record is bad                                       | dead letter, goes on                            |
"""

from datetime import datetime
from typing import Literal

from schemas.errors import ConfigError, RetryableError


class AuthError(ConfigError):
    """The source refuses who we say we are: the text names the setting or variable to change."""


class RateLimitedError(RetryableError):
    """Nothing more may be asked for `retry_after` seconds (where known), by this stream or by the whole account."""

    def __init__(self, message: str, retry_after: float | None = None, scope: Literal["stream", "account"] = "account") -> None:
        super().__init__(message, retry_after)
        self.scope = scope


class CursorExpiredError(RetryableError):
    """The source cannot go on at the saved cursor. `oldest` is the first time that it still holds, where it says so."""

    def __init__(self, message: str, oldest: datetime | None = None) -> None:
        super().__init__(message)
        self.oldest = oldest
