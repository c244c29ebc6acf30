# Two commands do all the set-up on a fresh Debian or Fedora machine: make demo, make test.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
.DEFAULT_GOAL := help

# KEEPALIVED=/path/to/keepalived: everything below runs that one instead of the machine's.
ifdef KEEPALIVED
ifneq ($(notdir $(KEEPALIVED))$(shell test -x '$(KEEPALIVED)' && echo ' runs'),keepalived runs)
$(error KEEPALIVED=$(KEEPALIVED): give the path of a program that is called keepalived)
endif
export PATH := $(dir $(abspath $(KEEPALIVED))):$(PATH)
endif

.PHONY: help setup demo demo-live test t lint format types imports unit lab chaos changes quick bench golden image test-image clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt tests/support/setup.sh
	@tests/support/setup.sh $(VENV)
	@touch $@

setup: $(READY) ## install what is missing: system packages, a virtual environment in .venv

demo: $(READY) ## three nodes, real keepalived, an address moving before your eyes (a minute)
	@$(BIN)/python -m tests.lab.demo

demo-live: $(READY) ## the same, until Ctrl-C
	@$(BIN)/python -m tests.lab.demo --live

test: lint types imports ## everything: style, types, all tests with real keepalived, coverage (15 minutes on two cores)
	@$(BIN)/coverage erase
	@$(BIN)/python -m compileall -q ipfailover_agent
	$(BIN)/python -m tests.lab.kit.privileged -- $(BIN)/python -m tests.support.suite
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90
	$(BIN)/coverage report --include="$$($(BIN)/python -m tests.support.pure)" --fail-under=100

# The lab wants the right to make namespaces; unit and property tests run where there is none, too.
T ?= tests/unit
IN_THE_LAB = $(if $(filter-out tests/unit% tests/property%,$(firstword $(T))),$(BIN)/python -m tests.lab.kit.privileged --)

t: $(READY) ## some tests: make t T=tests/lab/test_drain.py K=words_of_a_name
	$(IN_THE_LAB) $(BIN)/pytest -q $(T) $(if $(K),-k '$(K)')

lint: $(READY) ## style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(READY) ## put the code into the house style
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

types: $(READY) ## static types
	$(BIN)/mypy

imports: $(READY) ## imports go one way
	$(BIN)/lint-imports

quick: $(READY) ## the tests that compute: no network namespace, no privilege (a minute or two)
	$(BIN)/pytest -q -n logical -m 'not netns' --timeout 900 tests/unit tests/property tests/golden

golden: $(READY) ## write the expected files of tests/golden anew (read the diff!)
	$(BIN)/pytest -q tests/golden --update-golden

chaos: $(READY) ## every fault, several times, with real keepalived: a table (60 minutes)
	@$(BIN)/python -m tests.lab.kit.privileged -- $(BIN)/python -m tests.lab.kit.chaos

CHANGES ?= 200
SEED ?= 1

changes: $(READY) ## CHANGES=200 random changes in a row on two nodes: what each costs (twelve minutes)
	@LAB_CHANGES=$(CHANGES) LAB_SEED=$(SEED) $(BIN)/python -m tests.lab.kit.privileged -- \
		$(BIN)/pytest -q -s tests/lab/test_changes.py

SUITE ?= trixie
IMAGE ?= localhost/ipfailover-agent:latest

image: ## build the image with podman's buildah, as root; SUITE=bookworm for keepalived 2.2
	tests/support/setup-image.sh $(SUITE)
	image/build.sh $(SUITE) $(IMAGE)

test-image: $(READY) ## build the image on trixie and bookworm and run it on nodes, as root
	tests/support/setup-image.sh trixie bookworm
	$(BIN)/pytest -n 3 tests/image

RUNS ?= 11
MOMENTS ?= 9

bench: $(READY) ## measure start-up, memory, idle CPU and what clients wait for; RUNS=3 MOMENTS=1 is a quick look
	@PYTHONPATH=. $(BIN)/python image/compile_templates.py
	@$(BIN)/python -m tests.bench --runs $(RUNS) --moments $(MOMENTS)

clean: ## remove everything that was made
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
