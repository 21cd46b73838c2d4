# make demo   install, train on the embedded data, evaluate, check the gradients
# make test   install, lint, types, all tests
# make docs   build the book into build/docs/index.html
# make book   the book as an EPUB: build/vit-by-hand.epub
# make notebooks   its chapters as Jupyter notebooks, run from start to end: build/notebooks
# Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install install-dev install-docs demo docs book notebooks lint types pytest test clean

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev
install-docs: $(VENV)/installed-docs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, but this is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

# The files `installed*` record when pip last ran, so that it runs again only when the requirements change.
$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/installed

$(VENV)/installed-docs: requirements-docs.txt requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@ $(VENV)/installed

demo: install
	$(BIN)/python train.py demo
	$(BIN)/python evaluate.py
	$(BIN)/python gradcheck.py

# Warnings are errors, and so is a page whose code fails. Built from scratch, because its numbers come from the code.
docs: install-docs
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs build/docs
	@echo "open build/docs/index.html"

# From what `make docs` has read and computed.
book: docs
	rm -rf build/epub
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b epub -d build/docs/.doctrees docs build/epub
	@cp build/epub/vit-by-hand.epub build && echo "open build/vit-by-hand.epub"

# RUN=0 writes them and runs nothing. REPOSITORY is the address from which they clone the project, in Colab.
RUN ?= 1
REPOSITORY ?=
notebooks: install-docs
	$(BIN)/python docs/notebooks.py build/notebooks --repository "$(REPOSITORY)" $(if $(filter 0,$(RUN)),,--run)
	@echo "open build/notebooks"

lint: install-dev
	$(BIN)/ruff check .

types: install-dev
	$(BIN)/mypy

pytest: install-dev
	$(BIN)/python -m pytest -q -n auto --dist loadgroup

test: lint types pytest

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
