VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
EXTRAS ?= dev
# Two processes at a time with one thread each beat one with two threads
ONE := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PATH="$(abspath $(BIN)):$$PATH"
OURS := nbs tests tools setup.py

.PHONY: setup demo test nbtest pytest faults notebooks lint check readme docs quarto

setup: $(VENV)/.installed    ## virtual environment; EXTRAS=docs leaves out what only tests need
$(VENV)/.installed: settings.ini setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[$(EXTRAS)]'
	touch $@

demo: setup            ## compress the built-in demo model
	$(BIN)/dcvit demo

test: nbtest           ## every notebook, then pytest
	$(MAKE) pytest

nbtest: setup
	$(ONE) $(BIN)/nbdev_test --n_workers 2 --timing

pytest: setup
	$(ONE) $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations 40 tests

faults: setup          ## pytest once more, and keep its record, which the page on faults reads
	$(ONE) $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --thorough --junitxml=nbs/results/tests.xml tests
	sed -i 's/ hostname="[^"]*"//' nbs/results/tests.xml

notebooks: setup       ## run all notebooks in place, so that their outputs are in the docs
	$(ONE) $(BIN)/python tools/nb.py execute
	$(BIN)/nbdev_clean

lint: setup
	$(BIN)/ruff check dcvit $(OURS)
	$(BIN)/ruff format --check $(OURS)

check: lint            ## notebooks, package and README in step; notebooks clean and executed
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/python tools/nb.py check
	$(BIN)/python tools/nb.py readme
	git diff --exit-code --stat

readme: setup          ## README.md from nbs/index.ipynb
	$(BIN)/python tools/nb.py readme

docs: setup            ## the site in _docs, looked at in a headless browser where there is one
	$(BIN)/python tools/site.py
	$(BIN)/python tools/browser.py

quarto: setup          ## the same pages with Quarto, where it is installed
	$(BIN)/nbdev_docs
