# Everything that a fresh machine with Python >= 3.11 needs: `make run`, `make test`.

PORT ?= 8000
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
NPM := tests/clients/npm
UV := $(BIN)/uv
SYNC := UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON_DOWNLOADS=never $(UV) sync --locked --inexact

# An active virtual environment elsewhere is not the project's.
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help run test test-clients chaos bench check format install clean

help: ## show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  with, for instance: make run PORT=8001 · make test ARGS="-k cursor"'

run: $(VENV)/.synced-run ## set everything up and run the whole system (PORT=8000, ARGS=)
	@exec $(BIN)/persona-relay dev --port $(PORT) $(ARGS)

test: $(VENV)/.synced ## set everything up and run the test suite (ARGS=)
	@exec $(BIN)/pytest $(ARGS)

test-clients: $(VENV)/.synced-clients ## install the pinned npm clients, with a Node of their own, and run them (ARGS=)
	@CLIENTS=1 exec $(BIN)/pytest $(NPM) $(ARGS)

chaos: $(VENV)/.synced ## break real processes in every way, for some minutes (ARGS=, CHAOS_SEED=)
	@CHAOS=1 exec $(BIN)/pytest tests/chaos $(ARGS)

bench: $(VENV)/.synced ## measure what the hot path costs, on a quiet machine (ARGS="parts streams scale")
	@exec $(BIN)/python -m tests.benchmarks $(ARGS)

check: $(VENV)/.synced ## lint, formatting, types (tests too), import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.synced ## mend what can be mended: formatting, sorted imports
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: $(VENV)/.synced ## set everything up, run nothing
	@echo "ready: $(VENV)"

clean: ## remove the virtual environment and all caches; the data in .persona-relay stays
	rm -rf $(VENV) $(NPM)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

# Inexact: uv itself stays, and what `make test` has added.
$(VENV)/.synced-run: pyproject.toml uv.lock | $(UV)
	@$(SYNC) --no-dev
	@touch $@

$(VENV)/.synced: pyproject.toml uv.lock | $(UV)
	@$(SYNC)
	@touch $@ $(VENV)/.synced-run

$(VENV)/.synced-clients: $(VENV)/.synced $(NPM)/package.json $(NPM)/package-lock.json
	@$(SYNC) --group clients
	@cd $(NPM) && '$(CURDIR)/$(BIN)/npm' ci --loglevel=error
	@touch $@

# A virtual environment that is there already is kept if its Python will do.
$(UV):
	@new_enough='import sys; sys.exit(sys.version_info < (3, 11))'; \
	if ! $(BIN)/python -c "$$new_enough" 2>/dev/null; then \
	  for python in python3 python3.14 python3.13 python3.12 python3.11 none; do \
	    $$python -c "$$new_enough" 2>/dev/null && break; \
	  done; \
	  if [ $$python = none ]; then \
	    echo 'Python 3.11 or newer is needed, and neither python3 nor python3.11 … python3.14 is that' >&2; exit 1; \
	  fi; \
	  if ! $$python -m venv --clear $(VENV); then \
	    echo "Python's venv module does not work here; on Debian: apt-get install python3-venv" >&2; exit 1; \
	  fi; \
	fi; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
