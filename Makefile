# Everything is installed into .venv beside this file; `make` alone says what there is to do.
SHELL := /bin/sh
PYTHON_CODE := $(wildcard runtime core channel_gateway accounting invariants clients/cli clients/python tools tests)
TYPED_CODE := $(wildcard runtime core channel_gateway accounting invariants clients/cli clients/python/paycenter_client \
	tools tests generated/paycenter generated/buf)
IN_VENV := .venv/bin/python -m
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# The branch that the contract must not break.
AGAINST ?= main
# More words for the command of a target: make demo ARGS='--bill FILE'.
ARGS ?=
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup gen docs format check check-code check-types check-imports check-contract check-generated check-docs \
	test test-faults demo bench clean

help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

setup: ## Makes .venv and installs the project into it, when it is not up to date.
	@tools/setup.sh

gen: setup ## Generates code from the contract into generated/.
	@$(IN_VENV) tools.generate

docs: setup ## Writes the pages that are made from the contract and the settings.
	@$(IN_VENV) tools.generate_docs

format: setup ## Formats the code and the contract.
	@$(IN_VENV) ruff format $(PYTHON_CODE)
	@$(IN_VENV) ruff check --fix $(PYTHON_CODE)
	@buf format --write --path protos/paycenter

check: setup ## Checks format, lint, types, import laws, the contract, generated code and pages.
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync=target \
		check-types check-code check-imports check-contract check-generated check-docs
	@echo "check: all good"

check-code: setup
	@$(IN_VENV) ruff format --check $(PYTHON_CODE)
	@$(IN_VENV) ruff check $(PYTHON_CODE)

check-types: setup
	@$(IN_VENV) mypy $(TYPED_CODE)

check-imports: setup
	@lint-imports --no-cache

check-contract: setup
	@buf format --diff --exit-code --path protos/paycenter
	@buf lint
	@$(IN_VENV) tools.check_breaking --against $(AGAINST)

check-generated: setup
	@$(IN_VENV) tools.generate --check

check-docs: setup
	@$(IN_VENV) tools.generate_docs --check

test: check ## Runs every check, then the tests (the short suite: under ten minutes).
	@$(IN_VENV) pytest -n 2 --dist loadfile $(ARGS)

test-faults: setup ## Runs the long fault runs (kill -9, wiped bus) that the short suite leaves out.
	@$(IN_VENV) pytest -m slow tests/faults $(ARGS)

demo: setup ## Starts the whole center, pays, refunds, reconciles, shows the trace and the invariants, and stops.
	@.venv/bin/paycenter demo $(ARGS)

bench: setup ## Measures payments per second and the cost of a hop; writes .paycenter/bench.json.
	@$(IN_VENV) tests.benchmarks $(ARGS)

clean: ## Removes .venv, caches and what was built; keeps .paycenter.
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@rm -rf *.egg-info generated/*.egg-info clients/python/*.egg-info generated/build clients/python/build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
