"""Exit codes of every Touchline command. Imports nothing: the supervisor of a command stays small."""

DONE = 0
FAILED = 1
MISCONFIGURED = 2
FATAL = 70
FORCED = 75  # the process was asked to stop and did not in time
