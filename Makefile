# Extra arguments go through ARGS: make demo ARGS="--orders 1000 --exit"
ARGS ?=
# The interpreter that .venv is made with; without it scripts/setup looks for one.
PYTHON ?=
# How many processes run the tests, each with servers of its own; 0 runs them in one. Most of the time is waiting.
WORKERS ?= 3

PY := .venv/bin/python
# A process that may not keep what it compiled compiles all tests anew: ten seconds of a processor each time.
unexport PYTHONDONTWRITEBYTECODE

# By work: whoever is done takes over half of what another has still to do. Those of one file mostly stay together.
SHARED_OUT = -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-tooling test-quick test-full test-newest lint bench simulate simulate-mutants model torture sbom audit

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

setup: ## make .venv with all that is needed; no root, quick when nothing changed
	@PYTHON="$(PYTHON)" scripts/setup

# exec: no shell stands between make and the program.
demo: setup ## the whole story on this machine: database, broker, third party, order service, our service
	@exec $(PY) app.py demo $(ARGS)

test: setup ## the tests of the product, on a real PostgreSQL and a real broker
	@exec $(PY) -m pytest $(SHARED_OUT) -m "not tooling" --durations=30 $(ARGS)

test-tooling: setup ## the tests of what stands around it: sandbox, bench, documents, deploy, this Makefile
	@exec $(PY) -m pytest $(SHARED_OUT) -m tooling --durations=30 $(ARGS)

test-quick: setup ## the tests that need no servers of their own
	@exec $(PY) -m pytest -n 0 -m "not slow" $(ARGS)

test-full: setup ## the property tests, four times as long as in the others
	@HYPOTHESIS_PROFILE=full exec $(PY) -m pytest $(SHARED_OUT) -m hypothesis $(ARGS)

test-newest: setup ## the unit and property tests on the newest Python that can be had
	@newest=$$(scripts/newest_python) && if [ -n "$$newest" ]; then \
	    VENV=.venv-newest PYTHON="$$newest" scripts/setup && \
	    exec .venv-newest/bin/python -m pytest $(SHARED_OUT) -m "not slow" tests/unit tests/property $(ARGS); \
	fi

lint: setup ## style, formatting, types, and the packages' line of dependencies
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports

simulate: setup ## the whole system under seeds, in virtual time: ARGS="--seeds 1-100 --profile faults"
	@exec $(PY) -m tests.simulation $(ARGS)

simulate-mutants: setup ## faults put into the protocol: the simulation must find each of them
	@exec $(PY) -m tests.simulation.mutants $(ARGS)

model: setup ## all that can happen to one order's calls, searched by SPIN where that is at hand
	@exec $(PY) -m tests.simulation.model

torture: setup ## the real processes under load, with faults of all kinds: ARGS="--minutes 5 --seed 1"
	@exec $(PY) -m tests.torture $(ARGS)

bench: setup ## measure the service
	@exec $(PY) -m bench $(ARGS)

# The graph of dependencies isn't in a lock, and the tool says so each time.
sbom: setup ## var/sbom.cdx.json: what is in the image, as CycloneDX
	@mkdir -p var
	@$(PY) -W ignore::UserWarning -m cyclonedx_py requirements deploy/requirements.lock --pyproject pyproject.toml \
	    --output-reproducible --of JSON -o var/sbom.cdx.json
	@echo "var/sbom.cdx.json: written"

audit: setup ## known vulnerabilities of the locked packages; asks PyPI
	@exec $(PY) -m scripts.audit
