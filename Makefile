# make demo   builds .venv, runs a study of 20 trainings on real data, shows its front
# make test   builds .venv, runs every check and test; SLOW=1 runs the slow ones too
# make chaos  kills and stops 200 studies at random, for an hour at most; ROUNDS=20 SEED=7
# make docs   builds .venv, then the site into build/docs; a warning is an error
comma := ,
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SLOW ?=
ROUNDS ?= 200
SEED ?=
# Only slow tests use the trainers of other packages, which are large, and a notebook.
EXTRAS := dev$(if $(SLOW),$(comma)lightning$(comma)transformers$(comma)notebook)
STAMP := $(VENV)/.installed$(if $(SLOW),-slow)

.PHONY: demo test pytest chaos lint docs clean

demo: $(STAMP)
	$(BIN)/python -m energyopt -m 'lr=tag(log,interval(1e-4,1e-1))' \
	    'batch_size=choice(16,32,64,128,256)' n_trials=20 study=demo

# At once: mypy needs more than a minute of one core.
test: $(STAMP)
	$(MAKE) --no-print-directory --jobs 2 lint pytest

# Tests start hundreds of programs, each of which would compile all of energyopt again.
pytest: export PYTHONDONTWRITEBYTECODE =
pytest: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	    --durations 20 $(if $(SLOW),,-m "not slow")

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/prose.py
	$(BIN)/python tools/check_english.py
	$(BIN)/python tools/check_names.py

docs: $(STAMP)
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --nitpicky \
	    --quiet docs build/docs
	@echo build/docs/index.html

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "energyopt needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
