# Works with GNU make 3.81 (macOS) and later. Everything that is installed goes into .venv.

# Any Python from 3.11 on: make run PYTHON=python3.12
PYTHON ?= python3
# Tests wait for processes more than they compute, so there are more of them than cores.
TEST_PROCESSES ?= 4
# How many people `make torture` copies.
PEOPLE ?= 1000000

BIN := .venv/bin
GOAL := $(or $(firstword $(MAKECMDGOALS)),run)

# An old Python must get as far as the message, so this line is in the Python of any age.
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11) and \
  "Reach needs Python 3.11 or later, and $(PYTHON) is %d.%d. " % sys.version_info[:2] + \
  "If you have a later one, name it: make $(GOAL) PYTHON=python3.12")

# Usage: $(call set_up,run) or $(call set_up,dev)
define set_up
@command -v $(firstword $(PYTHON)) >/dev/null 2>&1 || { \
  echo 'Reach needs Python 3.11 or later, and there is no $(PYTHON) here. Install it,' \
    'or name another: make $(GOAL) PYTHON=python3.12' >&2; exit 1; }
@$(PYTHON) -c '$(IS_NEW_ENOUGH)'
@$(PYTHON) requirements/install.py $(1)
endef

# Usage: $(call flag,--port,PORT). Only what is typed after `make` counts: HOST is an everyday
# variable of shells and build tools. In the environment the names are REACH_HOST and so on.
flag = $(if $(filter command,$(origin $(2))), $(1) '$($(2))')

# Usage: $(call given,IMAGE). The same for a command that reads its environment.
given = $(if $(filter command,$(origin $(1))),$(1)='$($(1))' )

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header --upgrade

.DEFAULT_GOAL := help
.PHONY: help run watch test torture check bench bench-quick timing reference translations pictures lock vendor image cluster cluster-down clean

help: # not listed: it is what you are reading
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' Makefile

run: ## start Reach on this machine (PORT=8010 HOST=127.0.0.1 DATA_DIR=reach-data METRICS_PORT=9090)
	$(call set_up,run)
	@exec $(BIN)/reach up$(call flag,--host,HOST)$(call flag,--port,PORT)$(call flag,--data-dir,DATA_DIR)$(call flag,--metrics-port,METRICS_PORT)

watch: ## watch it with a local Prometheus (METRICS_PORT=9090 WATCH_PORT=9091 FORGET=yes)
	$(call set_up,run)
	@exec $(BIN)/python deploy/prometheus/watch.py$(call flag,--metrics-port,METRICS_PORT)$(call flag,--port,WATCH_PORT)$(call flag,--data-dir,DATA_DIR)$(if $(filter command,$(origin FORGET)), --forget)

# Hundreds of processes start: what is compiled is kept, whatever the environment says.
test: ## run every test (ARGS='-k word' for some of them)
	$(call set_up,dev)
	@PYTHONDONTWRITEBYTECODE= exec $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) \
	  --dist worksteal $(ARGS)

torture: ## copy a million people, killed in the middle (20 minutes, 6 GB; PEOPLE=1000000)
	$(call set_up,dev)
	@REACH_TEST_PEOPLE=$(PEOPLE) exec $(BIN)/python -m pytest --capture=no --durations=9 \
	  tests/transfer/test_killed.py $(ARGS)

check: ## lint, formatting, types, dependencies, and which module may import which
	$(call set_up,dev)
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/deptry --no-ansi src
	cd clients/python && ../../$(BIN)/deptry --no-ansi src
	$(BIN)/lint-imports --no-logo

bench: ## measure, beside PocketBase and this machine's limits (12 minutes; ARGS=--write)
	$(call set_up,dev)
	@exec $(BIN)/python -m benchmarks $(ARGS)

bench-quick: ## run a little of everything that is measured, for errors only (a minute)
	$(call set_up,dev)
	@exec $(BIN)/python -m benchmarks --quick

timing: ## measure whether the time of an answer tells who is known (two minutes)
	$(call set_up,dev)
	@exec $(BIN)/python -m benchmarks.timing $(ARGS)

reference: ## write docs/reference again, from the source
	$(call set_up,dev)
	@exec $(BIN)/python -m docs.reference

image: ## build the container image (IMAGE=reach:0.1.0 BASE=python:3.13-slim ENGINE=buildah)
	@$(call given,IMAGE)$(call given,BASE)$(call given,ENGINE)$(call given,SOURCE)exec deploy/docker/build.sh $(ARGS)

pictures: ## take the pictures of every page and email again (docs/pictures; needs Chromium)
	$(call set_up,dev)
	@exec $(BIN)/python -m docs.pictures

translations: ## bring the catalogues of pages and emails up to date with the source
	$(call set_up,dev)
	@exec $(BIN)/python -m docs.translations

lock: ## choose the newest versions that fit, into requirements/*.txt
	$(call set_up,dev)
	cd requirements && ../$(LOCK) run.in --output-file run.txt
	cd requirements && ../$(LOCK) build.in --constraint run.txt --output-file build.txt
	cd requirements && ../$(LOCK) traces.in --constraint run.txt --output-file traces.txt
	cd requirements && ../$(LOCK) dkim.in --constraint run.txt --output-file dkim.txt
	cd requirements && ../$(LOCK) dns.in --constraint run.txt --constraint traces.txt \
	  --constraint dkim.txt --output-file dns.txt
	cd requirements && ../$(LOCK) oidc.in --constraint run.txt --constraint traces.txt \
	  --constraint dkim.txt --constraint dns.txt --output-file oidc.txt
	cd requirements && ../$(LOCK) providers.in --constraint run.txt --constraint traces.txt \
	  --constraint dkim.txt --constraint dns.txt --constraint oidc.txt --output-file providers.txt
	cd requirements && ../$(LOCK) dev.in --constraint run.txt --constraint build.txt \
	  --constraint traces.txt --constraint dkim.txt --constraint dns.txt --constraint oidc.txt \
	  --constraint providers.txt --output-file dev.txt
	cd requirements && ../$(LOCK) --no-deps tools.in --output-file tools.txt

vendor: ## fetch the scripts of others that the console loads, as requirements/vendor.json pins them
	@$(PYTHON) requirements/vendor.py

cluster: ## all of it on minikube or kind (CLUSTER=kind PARTS='database cache mail edge app')
	@CLUSTER='$(CLUSTER)' PARTS='$(PARTS)' exec deploy/platform/platform.sh up

cluster-down: ## delete that cluster
	@CLUSTER='$(CLUSTER)' exec deploy/platform/platform.sh down

clean: ## remove what the other targets made, but for your data
	rm -rf .venv .venv.lock .openid-provider .mypy_cache .ruff_cache .import_linter_cache .pytest_cache \
	  .hypothesis dist
	find src tests benchmarks docs clients -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
