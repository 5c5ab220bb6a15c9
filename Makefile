# `make install` makes .venv with the locked dependencies and the package; `make run` starts the demo node;
# `make test` is the whole suite but for what is marked long, `make test-long` the rest with foreign peers;
# `make compile` makes a node faster where there is a C compiler, and nothing needs it.
SHELL  := bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK   := uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
          --no-header --no-emit-index-url --no-emit-find-links

.PHONY: install run test test-long compile bench lint lock tables
.DELETE_ON_ERROR:

install: $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Zhengming needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Install one, or name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	  echo "'$(PYTHON)' lacks its venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# setuptools is in the lock too, so building the package itself downloads nothing
$(VENV)/.installed: deploy/requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes --requirement deploy/requirements.lock
	$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.tests: tests/requirements.lock $(VENV)/.installed
	$(PIP) install --require-hashes --requirement tests/requirements.lock
	@touch $@

run: install
	$(BIN)/zhengming demo

test: $(VENV)/.tests
	$(BIN)/python -m pytest -m "not long" --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-long: $(VENV)/.tests
	$(BIN)/python -m pytest -m long

# an option: the hot modules in machine code; after any edit of a source plain Python runs again
compile: $(VENV)/.tests
	$(BIN)/python -m gateway.compiling

bench: compile
	$(BIN)/python tests/bench/run.py

lint: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# needs uv; the second lock holds everything of the first, at the same versions
lock:
	$(LOCK) --extra build --output-file deploy/requirements.lock
	$(LOCK) --extra build --extra test --constraint deploy/requirements.lock --output-file tests/requirements.lock

# after a new release of OpenCC: what is made out of its tables
tables: $(VENV)/.tests
	$(BIN)/python tests/simplified.py
