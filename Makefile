# Extra arguments go through ARGS: make demo ARGS="--orders 1000 --exit"
ARGS ?=
# The interpreter that .venv is made with; without it scripts/setup looks for one.
PYTHON ?=
# How many processes run the tests, each with servers of its own; 0 runs them in one. Most of the time is waiting.
WORKERS ?= 3

PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick lint bench

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

setup: ## make .venv with all that is needed; no root, quick when nothing changed
	@PYTHON="$(PYTHON)" scripts/setup

# exec: no shell stands between make and the program.
demo: setup ## the whole story on this machine: database, broker, third party, order service, our service
	@exec $(PY) app.py demo $(ARGS)

test: setup ## all tests
	@HYPOTHESIS_PROFILE=full exec $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-quick: setup ## the tests that need no servers of their own
	@exec $(PY) -m pytest -n 0 -m "not slow" $(ARGS)

lint: setup ## style, formatting, types, and the packages' line of dependencies
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports

bench: setup ## measure the service
	@exec $(PY) -m bench $(ARGS)
