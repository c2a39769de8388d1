"""All errors that Touchline raises on purpose, grouped by the recovery that the caller chooses.

An error text names the component, the field and the offset, and ends with the next step. It never contains customer data.
"""


class TouchlineError(Exception):
    """Base class. A command prints the text as one line and ends with `exit_code`."""

    exit_code = 1


class ConfigError(TouchlineError):
    """Settings, files or rights are wrong. The process stops, and the text names the thing that a person must change."""

    exit_code = 2


class RetryableError(TouchlineError):
    """A service is down or busy. The same call may succeed later, after `retry_after` seconds if the service named a time."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RecordError(TouchlineError):
    """One record cannot be processed. It becomes a dead letter with `reason`, and processing continues.

    `reason` comes from a bounded set because it is a metric label. `detail` is the text for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class FatalError(TouchlineError):
    """Continuing could lose data. The process ends, and its supervisor restarts it."""

    exit_code = 70
