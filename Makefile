# From a clone on a bare Debian 12 machine with Python 3.11+, its venv module, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

# Debian packages the tests need beside Python: what is missing is installed, as root or by sudo.
APT_PACKAGES := chromium curl

BENCHES := store_put storm ews_sweep ews_streams

.DEFAULT_GOAL := help
.PHONY: help demo test check bench apt clean

help:
	@echo "make demo    the whole product on loopback, against a simulated Exchange"
	@echo "make test    install what the tests need, check, and run all tests"
	@echo "make check   formatting, lint and types"
	@echo "make bench   the benchmarks (see bench/)"

demo: $(VENV)/.runtime
	@$(BIN)/presence-gateway demo $(ARGS)

test: apt check
	$(BIN)/pytest $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(MAKE) -C bench
	for bench in $(BENCHES); do $(BIN)/python -m bench.$$bench $(ARGS) || exit 1; done

apt:
	@sh .ci/install-packages $(APT_PACKAGES)

# Packages are installed again only when pyproject.toml or constraints.txt is newer than the stamp.
$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@if [ -e $(VENV)/.dev ]; then $(MAKE) --no-print-directory $(VENV)/.dev; else $(PIP) -e '.[fast]'; fi
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.runtime

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	$(MAKE) -C bench clean
