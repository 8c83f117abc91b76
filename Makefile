# `make scaling` and `make test` do everything, the environment included; see the README.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: scaling test test-slow lint bench clean

# The stamp, not the folder: a broken install is tried again, a whole one is left alone.
.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt pip
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[experiments,train]' --group dev
	touch $@

# Built again when its sources change: a kernel that is out of date is not used.
KERNEL := $(wildcard lsajax/solvers/native/*.h lsajax/solvers/native/*.cc)
.venv/.kernel: .venv/.installed lsajax/solvers/_host.py $(KERNEL)
	$(BIN)/python -m lsajax.solvers.build_native && touch $@ || echo "going on without the C++ kernel"

# Runs once; a second call finds its rows and prints the table again.
scaling: .venv/.kernel
	$(BIN)/python -m experiments.scaling --out results/scaling --resume $(ARGS)

test: .venv/.kernel
	$(BIN)/python -m pytest $(ARGS)

test-slow: .venv/.kernel
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.kernel
	$(BIN)/python -m pip install -q -c constraints.txt --group bench
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv build dist results .pytest_cache .ruff_cache .mypy_cache .hypothesis
