# `make help` lists the targets.  PYTHON names the interpreter that makes .venv; NODES the cloud nodes of `make run`;
# ROUNDS the rounds of a bench; SECONDS and SEED (random if absent, and printed) of a soak.
PYTHON ?= python3
export NODES ?= 2
ROUNDS ?= 3
SECONDS ?= 600

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
PYTHON_CODE := $(wildcard app tasks cloud_node store proto launch clients/python tests bench docs requirements page/build.py celeryconfig.py)
UV_COMPILE := uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
PROTOC := python -m grpc_tools.protoc -I. proto/cloud.proto
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR):$(CURDIR)/clients/python

.DEFAULT_GOAL := help
.PHONY: help run venv venv-dev page test test-fast provision verify verify-proto bench-latency bench-fanout bench-connect bench-ingest bench-node fuzz-wire soak docs-configuration docs-examples proto lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: venv page ## start everything in the foreground; ends with a line `ready:`; Ctrl-C stops it (NODES=2)
	@exec python -m launch

test: venv-dev provision page ## everything: provides RabbitMQ, Redis and Chromium when root on Debian, then runs all suites
	@if [ -f package.json ]; then npm run --silent test --workspaces; fi
	@python -m pytest

test-fast: venv-dev ## only the tests that need no service
	@python -m pytest -m "not services"

verify: venv-dev verify-proto page ## format, lint, types, import contracts, generated code, the page, docs' examples
	ruff format --check .
	ruff check .
	mypy $(PYTHON_CODE)
	lint-imports
	python -m docs.make_configuration --check
	@if [ -f package.json ]; then npm run --silent check --workspaces; fi
	@$(MAKE) docs-examples

bench-latency: venv-dev ## REST call to browser callback, side by side with peers (BEFORE=another checkout)
	@python -m bench.latency $(if $(BEFORE),--before $(BEFORE))

bench-fanout: venv-dev bench-node ## deliveries a second and their latency, side by side with peers (ROUNDS=3)
	@python -m bench.fanout --rounds $(ROUNDS) $(if $(PICTURE),--picture $(PICTURE))

bench-connect: venv-dev bench-node ## sessions: connects a second, memory, 20,000 at once (QUICK=1: without the long ones)
	@python -m bench.connect --rounds $(ROUNDS) $(if $(QUICK),--quick)

bench-ingest: venv-dev provision ## pushes a second from REST to websocket, beside a plain Celery pipeline (QUICK=1; STEADY_S=600)
	@python -m bench.ingest --rounds $(ROUNDS) $(if $(QUICK),--quick) $(if $(STEADY_S),--steady $(STEADY_S))

fuzz-wire: venv-dev ## random and mutated bytes at what reads strangers' bytes, in process and on a running node (SECONDS=600)
	@python -m tests.fuzz.frames $(SECONDS)
	@python -m tests.fuzz.node $(SECONDS)

soak: venv-dev provision page ## random faults under load: what was accepted, delivered, lost, doubled (SECONDS=600 SEED=n TARGET=stock)
	@python -m tests.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(TARGET),--target $(TARGET))

bench-node:
	@command -v node >/dev/null || $(MAKE) $(VENV)/.node

docs-configuration: venv-dev ## write docs/configuration.md from the settings classes
	python -m docs.make_configuration

docs-examples: venv-dev page ## run the examples of README.md and docs/ against a real start
	@python -m tests.docs.run_examples README.md README.zh-CN.md $(sort $(wildcard docs/*.md))

page: venv ## build the demo page and the browser SDK into app/static
	@command -v node >/dev/null || $(MAKE) $(VENV)/.node
	@if [ -f page/build.py ]; then python page/build.py; fi

proto: venv-dev ## regenerate proto/cloud_pb2* from proto/cloud.proto
	$(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=.

verify-proto: venv-dev
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	  $(PROTOC) --python_out="$$fresh" --pyi_out="$$fresh" --grpc_python_out="$$fresh" && \
	  for file in cloud_pb2.py cloud_pb2.pyi cloud_pb2_grpc.py; do \
	    diff -u "proto/$$file" "$$fresh/proto/$$file" || { echo "proto/$$file is stale: make proto" >&2; exit 1; }; \
	  done

lock: venv-dev ## resolve setup.cfg anew into requirements/*.lock
	python requirements/wanted.py run build | $(UV_COMPILE) -o requirements/run.lock
	python requirements/wanted.py node | $(UV_COMPILE) -o requirements/node.lock
	python requirements/wanted.py run build dev | $(UV_COMPILE) -c requirements/run.lock -o requirements/dev.lock

provision: venv-dev
	@python -m tests.provision

venv: $(VENV)/.run
venv-dev: $(VENV)/.dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cloudpush needs Python 3.11 or later: $$($(PYTHON) --version 2>&1) found. Try: make PYTHON=python3.12" >&2; exit 1; }
	@echo "» making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Quiet: with -qq pip keeps its errors and drops its warnings.
$(VENV)/.run: requirements/run.lock setup.cfg | $(BIN)/python
	@echo "» installing what cloudpush needs to run ($$(grep -c == requirements/run.lock) packages, hashes checked)"
	@$(PIP) install --require-hashes -r requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.lock setup.cfg | $(BIN)/python
	@echo "» installing what its tests and checks need ($$(grep -c == requirements/dev.lock) packages, hashes checked)"
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.run $@

$(VENV)/.node: requirements/node.lock | $(BIN)/python
	@echo "» installing Node.js into $(VENV), only to build the page"
	@$(PIP) install --require-hashes -r requirements/node.lock
	@touch $@

clean: ## remove all that make made; data in .cloudpush stays
	rm -rf $(VENV) *.egg-info build dist app/static tests/artifacts bench/results
	rm -rf node_modules clients/js/dist page/dist bench/peers/node_socketio/node_modules
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
