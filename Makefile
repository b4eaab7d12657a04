# Needs python3 (3.11 or later) with venv, and make. Everything else is set up in $(VENV) by pip.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
JOBS   ?= 4
PEERS  ?= .

.DEFAULT_GOAL := help
.PHONY: help demo test test-system check lint check-lowest fmt man wheel deb clean
.PHONY: bench bench-compare bench-budget bench-curves bench-report bench-peers bench-all
.DELETE_ON_ERROR:

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo ## Run the main job on an embedded server (ARGS: options of workd demo)
	$(BIN)/workd demo $(ARGS)

test: $(VENV)/.installed-dev ## Run all tests but those of test-system (ARGS: options of pytest; JOBS: at the same time, most of them wait)
	$(BIN)/pytest -n $(JOBS) --dist worksteal --ignore tests/system $(ARGS)

test-system: $(VENV)/.installed-dev ## Run the tests that boot a systemd: as root, a container and a virtual machine (ARGS)
	$(BIN)/pytest tests/system -n 3 --dist loadfile -o faulthandler_timeout=600 $(ARGS)

check: lint test ## Format, lint, types, layers, tests: what CI asks

lint: $(VENV)/.installed-dev ## The part of check that runs nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

check-lowest: ## Run unit and contract tests with the oldest version of each dependency that pyproject.toml allows
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(PYTHON) tests/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/pip install --quiet --disable-pip-version-check \
		--constraint $(VENV)-lowest/constraints.txt --editable '.[test]'
	$(VENV)-lowest/bin/pytest -W default tests/unit tests/contract -n $(JOBS) $(ARGS)

fmt: $(VENV)/.installed-dev ## Format, and fix what can be fixed by itself
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

man: $(VENV)/.installed-dev ## Write deploy/man and docs/commands.md anew, of the commands and settings that there are
	$(BIN)/python -m workd.cli.manual deploy/man
	$(BIN)/python -m workd.cli.reference docs/commands.md

bench: $(VENV)/.installed-dev ## Measure beside multiprocessing.Pool: calls, first result, memory, deaths, Redis (ARGS="pool": a part)
	$(BIN)/python tests/bench $(ARGS)

bench-compare: $(VENV)/.installed-dev ## Measure this tree beside another revision (REV=HEAD~1; ARGS="drain": a part)
	@test -n "$(REV)" || { echo "which revision? make bench-compare REV=HEAD~1"; exit 2; }
	$(BIN)/python tests/bench/compare $(REV) $(ARGS)

bench-budget: $(VENV)/.installed-dev ## Show where each microsecond of a job goes (ARGS="--results --top 40")
	$(BIN)/python tests/bench/budget $(ARGS)

bench-curves: $(VENV)/.installed-dev ## Measure payloads, distances, workers, daemons, queues…, some 10 minutes (ARGS="memory cpu")
	$(BIN)/python tests/bench/curves $(ARGS)

bench-report: $(VENV)/.installed-dev ## Write docs/benchmarks.md and scaling.md from what bench-peers and bench-curves have measured
	$(BIN)/python tests/bench/report $(ARGS)

PEERS_INSTALLED := $(PEERS)/.venv-peers/.installed $(PEERS)/.venv-peers-redis5/.installed

bench-peers: $(VENV)/.installed-dev $(PEERS_INSTALLED) ## Measure beside other job systems, some 20 minutes (ARGS="--quick"; PEERS: where they are installed)
	$(BIN)/python tests/bench/field --venvs $(PEERS) $(ARGS)

bench-all: $(VENV)/.installed-dev $(PEERS_INSTALLED) ## Measure all that docs/benchmarks.md says, and write it: some 40 minutes
	$(BIN)/python tests/bench/field --venvs $(PEERS)
	$(BIN)/python tests/bench/curves
	$(BIN)/python tests/bench/report

$(PEERS)/.venv-peers/.installed: tests/bench/peers.txt
$(PEERS)/.venv-peers-redis5/.installed: tests/bench/field/peers-redis5.txt
$(PEERS_INSTALLED):
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

wheel: $(VENV)/.installed-dev ## Build dist/*.whl
	rm -rf dist
	$(BIN)/python -m build --wheel

deb: wheel ## Build dist/*.deb, for the Debian and the Python of this machine (DEB_REVISION=2)
	deploy/debian/build.sh dist/workd-*.whl

clean: ## Remove everything that make made
	rm -rf $(VENV) $(VENV)-lowest $(dir $(PEERS_INSTALLED)) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find daemon tasks tests -name __pycache__ -type d -prune -exec rm -rf {} +

# One virtual environment; .installed-X says that the extra X of pyproject.toml is in it.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "workd needs Python 3.11 or later: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
