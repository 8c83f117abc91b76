# Every target sets up all that it needs; see the README.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := -m pip install -q -c constraints.txt

.PHONY: scaling light report test test-slow test-lsajax lint docs bench clean

# Before anything is made: an environment of an old interpreter would stay and fail every later run.
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Python 3.11 or later is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	"name another one: make PYTHON=python3.12" >&2; exit 1; }

# The stamp, not the folder: a broken install is tried again, a whole one is left alone.
.venv/.installed: pyproject.toml constraints.txt
	@$(CHECK_PYTHON)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) pip
	$(BIN)/python $(PIP_INSTALL) -e '.[runs,agents,gymnasium]' --group experiments --group train --group dev
	touch $@

# Built again when its sources change: a kernel that is out of date is not used.
KERNEL := $(wildcard lsajax/solvers/native/*.h lsajax/solvers/native/*.cc)
.venv/.kernel: .venv/.installed lsajax/solvers/_host.py $(KERNEL)
	$(BIN)/python -m lsajax.solvers.build_native && touch $@ || echo "going on without the C++ kernel"

# Runs once; a second call finds its rows and prints the table again.
scaling: .venv/.kernel
	$(BIN)/python -m experiments.scaling --resume $(ARGS)
	@echo "for the commands of the README: source .venv/bin/activate"

# Simulator, solvers and the classical baselines alone: no torch, no language model.
light:
	@$(CHECK_PYTHON)
	test -x .venv-light/bin/python || $(PYTHON) -m venv .venv-light
	.venv-light/bin/python $(PIP_INSTALL) pip
	.venv-light/bin/python $(PIP_INSTALL) -e '.[runs,agents]' --group experiments
	.venv-light/bin/python -m lsajax.solvers.build_native || echo "going on without the C++ kernel"
	.venv-light/bin/python -m experiments.scaling --model none --resume $(ARGS)

# Small runs of every study and training, and one page for the browser of what they wrote.
report: .venv/.kernel
	$(BIN)/python -m experiments.report --quick $(ARGS)

test: .venv/.kernel
	$(BIN)/python -m pytest $(ARGS)

# Some slow tests run on Ray nodes of this machine, some against a server and a trainer of others.
test-slow: .venv/.kernel
	$(BIN)/python $(PIP_INSTALL) -e '.[ray]' --group serving --group verifiers
	$(BIN)/python -m pytest -m slow $(ARGS)

# `lsajax` alone on another interpreter, with the newest dependencies: make test-lsajax PYTHON=python3.13
test-lsajax:
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear .venv-lsajax
	.venv-lsajax/bin/python -m pip install -q --upgrade pip
	.venv-lsajax/bin/python -m pip install -q -e '.[runs]' --group test
	.venv-lsajax/bin/python -m lsajax.solvers.build_native || echo "going on without the C++ kernel"
	.venv-lsajax/bin/python -m pytest tests/lsajax $(ARGS)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ with the API reference, in build/docs.
docs: .venv/.installed
	$(BIN)/python -m mkdocs build --strict --quiet

bench: .venv/.kernel
	$(BIN)/python $(PIP_INSTALL) --group bench
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv .venv-light .venv-lsajax build dist results .pytest_cache .ruff_cache .mypy_cache .hypothesis
