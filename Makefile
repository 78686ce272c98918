# Everything here works on a machine that has make and a Python of 3.11 or newer, nothing else.
# The packages come from the two lock files, by hash, into .venv/, once.
#
#   make demo     a simulated plant, a broker and the gateway: values within seconds
#                 (make demo ARGS="--seconds 20")
#   make test     every test, those that start and kill real processes included
#   make soak     the same faults for hours: ten thousand power cuts, every system call failing once
#                 (make soak ARGS="-k power_cuts")
#   make check    style, types and the directions of imports
#   make bench    the measurements that docs and README quote
#   make venv     only build .venv/
#   make lock     write the lock files anew (UPGRADE=1: with the newest of everything)
#   make clean    remove .venv/ and every cache

ARGS ?=
VENV := .venv
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v "$$each" && break; done)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -qq

.PHONY: demo test soak check bench venv lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(VENV)/bin/tailrace demo $(ARGS)

# Five at a time: the tests mostly wait, for processes that start, outages that pass, kills to heal.
test: $(VENV)/.installed-dev
	@$(VENV)/bin/python -m pytest -n 5 --dist worksteal $(ARGS)

soak: $(VENV)/.installed-dev
	@$(VENV)/bin/python -m pytest tests/soak -s $(ARGS)

check: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.installed-dev
	@$(VENV)/bin/python -m bench $(ARGS)

venv: $(VENV)/.installed-dev

lock: $(VENV)/.installed-dev
	UPGRADE="$(UPGRADE)" .ci/lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Tailrace needs Python 3.11 or newer, and none was found" \
		"on the PATH. Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a" \
		"virtual environment (it has no ensurepip). On Debian and Ubuntu install the package" \
		"python3-venv, then run make again." >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv $(VENV)

# The first is enough to run Tailrace and its demo; the second adds what its developers need.
$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing the packages of requirements.lock into $(VENV), once"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the packages of requirements-dev.lock into $(VENV), once"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
