# Everything a person or CI does here, one verb a job. `make` alone explains itself.
.DEFAULT_GOAL := help
.PHONY: help setup check test test-fast test-connectors crash demo up down status bench bench-intake bench-clickhouse format lock clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
TOUCHLINE := $(BIN)/touchline
# Integration tests mostly wait, so two cores serve four processes.
PROCESSES := 4
LOCK := $(BIN)/uv pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-annotate --no-header -q

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## virtual environment from the lock file, then Kafka and ClickHouse
	@$(TOUCHLINE) up --download-only

$(STAMP): deploy/requirements-dev.txt pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is needed: apt-get install -y python3.11 python3.11-venv'; exit 1; }
	@python3 -m venv $(VENV) || { echo 'the venv module is missing: apt-get install -y python3-venv'; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r deploy/requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(STAMP)

check: $(STAMP) ## ruff, mypy --strict, layer rules, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

PYTEST := $(BIN)/pytest --durations 20

test: setup check ## every check and every test, on real Kafka and ClickHouse; leaves nothing running
	@failed=0; \
	$(PYTEST) -m 'not live' --numprocesses $(PROCESSES) --dist loadgroup || failed=1; \
	$(PYTEST) -m 'live and not slow' --numprocesses $(PROCESSES) --dist loadfile tests/live || failed=1; \
	exit $$failed

test-fast: $(STAMP) ## the tests that need no server, in at most 90 seconds
	$(BIN)/pytest -m 'not integration and not crash and not live' --numprocesses logical --quiet

test-connectors: setup ## every connector against its real source system, which is installed for it
	$(BIN)/pytest -m live tests/live

crash: setup ## 200 kills and freezes of everything, then the whole result against a model
	$(BIN)/python -m tests.crash

demo: setup ## the whole line on real and simulated input, then what an analyst would ask
	@$(TOUCHLINE) demo

up: setup ## start Kafka and ClickHouse here
	@$(TOUCHLINE) up

down: $(STAMP) ## stop them
	@$(TOUCHLINE) down

status: $(STAMP) ## what runs, and where
	@$(TOUCHLINE) status

bench: setup ## measure engine, line and state on this machine (12 minutes), print tables
	$(BIN)/python -m tests.bench

bench-intake: setup ## measure the intake's HTTP server under load (3 minutes), print a table
	$(BIN)/python -m tests.bench.intake

bench-clickhouse: setup ## measure what analysts wait for at ten million touchpoints (17 minutes), print tables
	$(BIN)/python -m tests.bench.clickhouse

format: $(STAMP) ## let ruff lay out and mend the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(STAMP) ## write the lock files anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(LOCK) pyproject.toml -o deploy/requirements.txt
	$(LOCK) pyproject.toml --group dev --all-extras -o deploy/requirements-dev.txt
	$(LOCK) tests/bench/requirements-quix.in -o tests/bench/requirements-quix.txt
	for asked in tests/*/*/requirements.in; do $(LOCK) $$asked -o $${asked%.in}.txt || exit 1; done

clean: down ## stop the stack and remove its data and caches; downloads stay
	rm -rf .touchline/kafka .touchline/clickhouse .touchline/work .touchline/log .touchline/demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
