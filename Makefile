# One verb per job, for people and CI. `make` prints the list.
SHELL := bash
.SHELLFLAGS := -e -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup check test test-fast test-connectors crash demo up down status bench bench-intake bench-clickhouse quality format lock settings clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
TOUCHLINE := $(BIN)/touchline
# Integration tests mostly wait, so two cores serve four processes.
PROCESSES := 4
# One line per downloaded package, with its number and the total, instead of pip's four.
PIP_PROGRESS = awk -v total=$$(grep '==' deploy/requirements-dev.txt | grep -vc win32) \
	'/^(Collecting|Requirement already)/ {n++} /^Collecting/ {print "  " n " of " total " " $$2} /^Installing/ {print "  install"} {fflush()}'
LOCK := $(BIN)/uv pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-annotate --no-header -q

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv, download Kafka and ClickHouse
	@$(TOUCHLINE) up --download-only

$(STAMP): deploy/requirements-dev.txt tests/quality/requirements.txt pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or newer is missing: apt-get install -y python3.11 python3.11-venv'; exit 1; }
	@python3 -m venv $(VENV) || { echo 'the venv module is missing: apt-get install -y python3-venv'; exit 1; }
	@echo 'download the packages of the lock file, install them into $(VENV)'
	@$(BIN)/pip install --disable-pip-version-check --require-hashes -r deploy/requirements-dev.txt | $(PIP_PROGRESS)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r tests/quality/requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(STAMP)

check: $(STAMP) ## run ruff, mypy, layer rules and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

PYTEST := $(BIN)/pytest --durations 20

test: setup check ## run all checks and tests on real Kafka and ClickHouse
	@failed=0; \
	$(PYTEST) -m 'not live and not slow' --numprocesses $(PROCESSES) --dist loadgroup || failed=1; \
	$(PYTEST) -m 'live and not slow' --numprocesses $(PROCESSES) --dist loadfile tests/live || failed=1; \
	exit $$failed

test-fast: $(STAMP) ## run the tests that need no server (90 seconds)
	$(BIN)/pytest -m 'not integration and not crash and not live' --numprocesses logical --quiet

test-connectors: setup ## run connectors on real source systems, and slow tests
	$(BIN)/pytest -m 'live or slow'

crash: setup ## kill and freeze processes 300 times, compare results
	$(BIN)/python -m tests.crash

demo: setup ## run the whole line on example data and print answers
	@$(TOUCHLINE) demo

up: setup ## start Kafka and ClickHouse
	@$(TOUCHLINE) up

down: $(STAMP) ## stop Kafka and ClickHouse
	@$(TOUCHLINE) down

status: $(STAMP) ## show state and address of Kafka and ClickHouse
	@$(TOUCHLINE) status

bench: setup ## measure engine, line and state (12 minutes)
	$(BIN)/python -m tests.bench

bench-intake: setup ## measure the HTTP server of the intake (3 minutes)
	$(BIN)/python -m tests.bench.intake

bench-clickhouse: setup ## measure queries at ten million touchpoints (17 minutes)
	$(BIN)/python -m tests.bench.clickhouse

quality: setup ## join people of a known truth, check limits (5 minutes)
	$(BIN)/python -m tests.quality

format: $(STAMP) ## format the code and apply ruff's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(STAMP) ## write the lock files from pyproject.toml
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(LOCK) pyproject.toml -o deploy/requirements.txt
	$(LOCK) pyproject.toml --group dev --all-extras -o deploy/requirements-dev.txt
	$(LOCK) tests/bench/requirements-quix.in -o tests/bench/requirements-quix.txt
	$(LOCK) --no-deps tests/quality/requirements.in -o tests/quality/requirements.txt
	for file in tests/*/*/requirements.in; do $(LOCK) $$file -o $${file%.in}.txt || exit 1; done

settings: $(STAMP) ## write deploy/SETTINGS.md from the settings models
	$(TOUCHLINE) settings --markdown > deploy/SETTINGS.md

clean: down ## stop the stack, remove data and caches
	rm -rf .touchline/kafka .touchline/clickhouse .touchline/work .touchline/log .touchline/demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
