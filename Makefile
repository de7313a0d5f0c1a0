# Two commands: `make demo` and `make test`. Each sets itself up in .venv on a fresh machine; running it again is quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
STAMP := $(VENV)/set-up
# The native engine is compiled when the package is installed: anew when its sources change.
ENGINE := $(wildcard seqgen/engine/CMakeLists.txt seqgen/engine/*/*.?pp seqgen/engine/*/*.h)
# Any Python 3.11-3.13; the first that fits is taken. Choose another with `make setup PYTHON=/path/to/python3.12`.
PYTHON ?=
# Empty: torch from PyPI (CUDA builds on Linux). For the smaller CPU build add its index, for example
# `make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu`.
TORCH_INDEX ?=
# `make test TESTS=tests/unit` runs a part; PYTEST holds more options, for example PYTEST='-k mulaw -x'.
TESTS ?= tests
PYTEST ?=
# Processes that `make test` shares the tests among, one thread each.
JOBS ?= 2
# `make fuzz` runs the property tests this often, each time with the next seed, and the engine's loader this long.
FUZZ_ROUNDS ?= 10
FUZZ_SEED ?= $(shell date +%s)
FUZZ_SECONDS ?= 60

.PHONY: help setup test style demo docs soak fuzz sanitize clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: $(STAMP) ## create .venv and install everything; nothing to do when run again

$(STAMP): pyproject.toml constraints.txt tools/setup.py $(ENGINE)
	@set -e; python=; \
	for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "setup: $(if $(PYTHON),$(PYTHON) is not,there is no) Python 3.11, 3.12 or 3.13 here;" \
	    "install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	if ! [ -x $(VENV)/bin/pip ]; then \
	  "$$python" -m venv $(VENV) || { rm -rf $(VENV); echo "setup: $$python cannot create a virtual environment;" \
	    "on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	fi
	@echo "setup: installing into $(VENV); the first time takes a few minutes"
	$(VENV)/bin/pip install -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[train,serve,dev]'
	$(VENV)/bin/python tools/setup.py
	@touch $@

test: style ## style, ruff, mypy and all tests
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy $$($(VENV)/bin/python tools/style.py --torch-free)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST) $(TESTS)

style: $(STAMP) ## the house rules (sizes, names, imports)
	$(VENV)/bin/python tools/style.py

demo: $(STAMP) ## train a small voice, export it, stream it: demo/out.wav and demo/report
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash egs/demo/run.sh

docs: $(STAMP) ## the documentation as a site: build/site/index.html
	$(VENV)/bin/pip install -q -c constraints.txt -e '.[docs]'
	$(VENV)/bin/mkdocs build -q --site-dir build/site

soak: $(STAMP) ## the tests that run for many minutes
	$(VENV)/bin/python -m pytest -m soak --timeout 3600 $(PYTEST) $(TESTS)

fuzz: $(STAMP) ## other random examples and mutated bundles: FUZZ_ROUNDS=10, FUZZ_SEED=now, FUZZ_SECONDS=60
	@set -e; first=$(FUZZ_SEED); for ((round = 0; round < $(FUZZ_ROUNDS); round++)); do \
	  seed=$$((first + round)); \
	  echo "fuzz: round $$((round + 1)) of $(FUZZ_ROUNDS); again: make fuzz FUZZ_ROUNDS=1 FUZZ_SEED=$$seed"; \
	  $(VENV)/bin/python -m pytest -q -m hypothesis --hypothesis-profile=default --hypothesis-seed=$$seed \
	    $(PYTEST) $(TESTS); \
	done
	tools/fuzz_engine.sh $(FUZZ_SECONDS) $(FUZZ_SEED)

sanitize: $(STAMP) ## the native engine under the address, undefined-behaviour and thread sanitizers
	tools/sanitize_engine.sh $(PYTEST)

clean: ## remove what the commands made, .venv included
	rm -rf $(VENV) build dist demo seqgen.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
