# The verbs of the project; `make` alone lists them. A machine needs Python 3.11 or newer, make and git.
# Variables: PYTHON=python3.13 picks the interpreter, T=tests/api/test_auth.py runs only that, PORT, HOST and DATA_DIR move `dev`.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help dev test lint types format migrate reset up bench bench-quick mutants test-faults image-test lock audit-deps

BIN := .venv/bin
COVERAGE_FLOOR ?= 95
# Processes that run tests: three on two cores, since a test waits for other processes a third of its time.
N ?= $(if $(T),0,3)

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

dev: .venv/.dev ## Run the whole system on embedded parts; Ctrl-C ends it
	@exec $(BIN)/neoforge dev

test: .venv/.test ## Run every test on both stacks; T=path runs some
	@rm -f backend/.coverage backend/.coverage.*
	@cd backend && exec ../scripts/test "$(patsubst backend/%,%,$(T))" "$(N)" "$(COVERAGE_FLOOR)"

lint: .venv/.test ## Check style, layers and dependencies
	$(BIN)/ruff check backend/
	$(BIN)/ruff format --check backend/
	cd backend && ../$(BIN)/lint-imports
	cd backend && ../$(BIN)/deptry app
	$(BIN)/neoforge db lint --squawk

types: .venv/.test ## Check the types
	$(BIN)/mypy --config-file backend/pyproject.toml backend/app/

format: .venv/.test ## Put the code into the project's form
	$(BIN)/ruff check --fix-only backend/
	$(BIN)/ruff format backend/

migrate: .venv/.dev ## Bring the database to the newest revision
	@exec $(BIN)/neoforge db upgrade

reset: .venv/.dev ## Empty the embedded stack (development only); asks first, YES=1 does not
	@exec $(BIN)/neoforge reset $(if $(YES),--yes)

up: ## Run the stack in containers
	docker compose up --build

bench: .venv/.test .venv-bench/.done ## Measure beside a bare endpoint and peers; T=me makes one table
	@BENCH_CHART=1 exec $(BIN)/python -m bench $(T)

bench-quick: .venv/.test .venv-bench/.done ## The same of the hot path and of signing in, in two minutes
	@BENCH_SECONDS=1 BENCH_ROUNDS=2 BENCH_SESSIONS=3000 exec $(BIN)/python -m bench me accounts

mutants: .venv/.test ## Plant each lie of tests/mutants and see its test turn red
	@cd backend && exec ../$(BIN)/python -m tests.mutants

test-faults: .venv/.test ## The tests that kill processes at random, at full length
	@cd backend && exec ../scripts/test tests/faults 0 0

image-test: ## Build the images and run the guide's commands in them, where a container tool answers
	@exec deploy/image-test.sh

lock: .venv/bin/python ## Pin every dependency anew, by hash
	@cd backend && exec ../scripts/lock

audit-deps: .venv/bin/python ## Ask the package index for advisories on what is pinned for production
	@exec $(BIN)/python scripts/audit_deps.py backend/requirements.lock backend/requirements-flower.lock

# --- installing: a stamp a set, done again when its lock or the project's own file changes ---

.venv/bin/python:
	@scripts/venv .venv

.venv/.dev: backend/requirements-dev.lock backend/pyproject.toml scripts/install | .venv/bin/python
	@scripts/install dev && touch $@

.venv-bench/.done: bench/requirements.lock | .venv/bin/python
	@scripts/venv .venv-bench
	@scripts/uv pip install -q --python .venv-bench/bin/python --require-hashes -r $< && touch $@ || \
		echo "The peers cannot be installed: the tables leave them out" >&2

.venv/.test: backend/requirements-test.lock backend/pyproject.toml scripts/install | .venv/bin/python
	@scripts/install test && touch .venv/.dev $@
