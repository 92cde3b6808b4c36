# Two commands matter: `make demo` and `make test`. Both install what they need into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROMPT ?= The capital of France is

.PHONY: demo test lint unit server-tests nightly bench clean help
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; fix: make PYTHON=python3.11 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[bench]' --group dev
	@touch $@

demo: $(BIN)/.ready ## A real model on a real Triton: convert, validate, serve, stream, stop
	$(BIN)/trtbuild up sample:smollm2 --prompt "$(PROMPT)" --port auto --once

test: lint unit server-tests ## Everything that CI runs

lint: $(BIN)/.ready ## Style, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --quiet --offline .github/workflows

unit: $(BIN)/.ready ## Tests without a server
	$(BIN)/pytest -m "not server" -n auto --dist worksteal

# "vllm": the tests that share one vLLM server; "not vllm": the others.
SHARD ?= vllm or not vllm
server-tests: $(BIN)/.ready ## Tests on the real embedded Triton (installs the runtime once)
	$(BIN)/trtbuild runtime install
	$(BIN)/pytest -m "server and ($(SHARD))"

nightly: $(BIN)/.ready ## Long fuzzing and differential runs
	$(BIN)/trtbuild runtime install
	$(BIN)/python scripts/fuzz_validator.py --files 100000
	$(BIN)/python scripts/differential.py --cases 20000

bench: $(BIN)/.ready ## Measure; results are ratios within one run
	$(BIN)/trtbuild runtime install
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean: ## Remove the development environment and caches of the tools
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
