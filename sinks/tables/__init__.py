"""One folder per table in touchline_store; `sinks/contract.py` says what is in it."""
