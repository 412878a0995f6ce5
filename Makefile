# make demo   environment, a real slide, the main job, a picture of the result
# make test   the test suite
# make check  formatting, lint and types
# make docs   the pages of docs/, with a reference of the Python API, in site/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow check docs wheel clean

demo: $(READY)
	$(BIN)/python scripts/demo.py demo

# A test uses one core, so that two run side by side on two.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile

test: $(READY)
	$(PYTEST)

test-slow: $(READY)
	$(PYTEST) --slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build -q

wheel: $(READY)
	$(BIN)/python -m pip wheel --no-deps -q -w dist .

clean:
	rm -rf $(VENV) demo dist site

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
