"""Every error Touchline raises on purpose, grouped by what the caller does about it.

Texts name the component, the field and the offset and say what to do next; they never carry customer data.
"""


class TouchlineError(Exception):
    """Base of all: shown as one line on the command line, which then ends with `exit_code`."""

    exit_code = 1


class ConfigError(TouchlineError):
    """Settings, files or rights are wrong: stop, and tell the person what to change."""

    exit_code = 2


class RetryableError(TouchlineError):
    """Something outside is down or busy: the same call may succeed later, after `retry_after` seconds where known."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RecordError(TouchlineError):
    """One record cannot be processed: it becomes a dead letter with `reason`, and the rest flows on.

    `reason` is a short word from a bounded set (a metric label); the message is the detail a person reads.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class FatalError(TouchlineError):
    """Going on could lose data: the process ends and its supervisor starts it again."""

    exit_code = 70
