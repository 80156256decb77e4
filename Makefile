VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Two processes at a time with one thread each beat one with two threads
ONE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test docs notebooks readme check setup

setup: $(VENV)/.installed
$(VENV)/.installed: settings.ini setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -U pip
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

demo: setup            ## compress the built-in demo model
	$(BIN)/dcvit demo

test: setup            ## every notebook, then pytest
	cd $(CURDIR) && $(ONE) PATH="$(abspath $(BIN)):$$PATH" $(BIN)/nbdev_test --n_workers 2
	$(ONE) PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -q -n 2 --dist loadfile tests

notebooks: setup       ## run all notebooks in place, so that their outputs are in the docs
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tools/nb.py execute
	$(BIN)/nbdev_clean

check: setup           ## notebooks and package in step, clean and executed
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/python tools/nb.py check
	$(BIN)/python tools/nb.py readme
	git diff --exit-code --stat

readme: setup          ## README.md from nbs/index.ipynb
	$(BIN)/python tools/nb.py readme

docs: setup            ## the site in _docs: with Quarto where it is installed, else with Sphinx
	if command -v quarto >/dev/null; then $(BIN)/nbdev_docs; else $(BIN)/python tools/nb.py site; fi
