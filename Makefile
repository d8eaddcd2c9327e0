# Every target runs the tools of .venv, which bin/setup-venv makes (and leaves alone when it is current).
PY := .venv/bin/python

.PHONY: help setup check fmt test sim docs bench units

help:  ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup:  ## Make or refresh .venv
	@bin/setup-venv

check: setup  ## Judge the house rules: ruff, mypy strict, import contracts, tests/tidy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy -p remuda
	$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	$(PY) -m pytest -q tests/tidy

fmt: setup  ## Format the code and mend what ruff can mend
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

test:  ## Run every test (the same as bin/test)
	bin/test

SEEDS ?= 10000
FIRST ?= 0

sim: setup  ## Simulate SEEDS=10000 schedules from FIRST=0 on all cores; REPLAY=seed tells one's story
	$(PY) -m tests.simulation $(if $(REPLAY),--replay $(REPLAY),--seeds $(SEEDS) --first $(FIRST))

docs: setup  ## Write what docs/ draws from the code again: the diagrams, the configuration page
	$(PY) docs/generate.py
	$(PY) docs/generate_configuration.py

units:  ## Let systemd judge the units, and print how exposed each daemon is
	@bin/units

bench:  ## Measure and print the figures of the README, peers beside them
	@bin/setup-venv dev,demo,bench
	$(PY) benchmarks/run.py
