"""One folder per table with its columns, migrations and cases (see `sinks/contract.py`)."""
