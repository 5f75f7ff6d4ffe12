# Everything runs from here.  `make demo` and `make test` need Python 3.11 or later, pip and make; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
JOBS ?= 2

.PHONY: help demo test check docs refresh-docs bench memory soak fuzz mutate test-cuda-compile record-torch wheel clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml
	$(BIN)/pip install --quiet --editable '.[demo,dev]'
	@touch $@

demo: $(VENV)/.installed  ## train a digits classifier eagerly and co-executed, compare, write out/digits.html
	$(RUN) -m examples.digits

test: $(VENV)/.installed  ## all tests (two processes; JOBS=n for more)
	$(RUN) -m pytest -n $(JOBS) --dist loadfile tests

check: $(VENV)/.installed  ## ruff, mypy --strict, import rules, the examples in the docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff . >/dev/null || { echo "run: $(BIN)/ruff format ."; exit 1; }
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(RUN) -m pytest -q -n $(JOBS) --hypothesis-profile ci --doctest-modules --doctest-glob='*.md' -p no:cacheprovider comprehension minitensor coexec docs README.md

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs  ## the documentation as HTML in docs/_build/html
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

refresh-docs: $(VENV)/.installed  ## write the results of examples, figures, lists of names and pictures in the docs anew
	$(RUN) docs/refresh.py docs/*.md docs/stages/*.md
	$(RUN) docs/listing.py
	$(RUN) -m benchmarks.pages
	$(RUN) docs/pictures.py

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[bench]'
	@touch $@

bench: $(VENV)/.bench  ## side-by-side measurements; JSON under benchmarks/results/
	$(RUN) -m benchmarks

memory: $(VENV)/.installed  ## 10 000 kernels loaded, called and dropped: the program's memory stays flat
	$(RUN) -m benchmarks.kernel_memory

soak: $(VENV)/.installed  ## 100 000 co-executed steps: memory and file descriptors stay flat
	$(RUN) -m benchmarks.soak

record-torch: $(VENV)/.bench  ## record PyTorch's values that tests compare with
	$(RUN) -m benchmarks.record_torch

fuzz: $(VENV)/.installed  ## the same properties, thousands of examples
	HYPOTHESIS_PROFILE=long $(RUN) -m pytest -n $(JOBS) --timeout 7200 tests

$(VENV)/.mutate: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[mutate]'
	@touch $@

mutate: $(VENV)/.mutate  ## mutation testing: is a random change of the program noticed?  (hours; SAMPLE=n, of each package)
	@for group in compiler coexec; do \
	  PATH="$(abspath $(BIN)):$$PATH" $(RUN) tests/mutation tests/mutation/$$group.toml $(if $(SAMPLE),--sample $(SAMPLE)) || exit 1; done

$(VENV)/.cuda: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[cuda]'
	@touch $@

test-cuda-compile: $(VENV)/.cuda  ## generated CUDA kernels to PTX and sm_80/sm_90 machine code, no GPU needed
	$(RUN) -m pytest -m cuda_compile tests

wheel: $(VENV)/.installed  ## dist/*.whl
	$(RUN) -m build --wheel --outdir dist

clean:  ## remove what make made
	rm -rf $(VENV) build dist out docs/_build .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
