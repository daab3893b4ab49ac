# demo   make the environment, run a synthetic case, say where to look (out/)
# test   make the environment, then run every test       check  ruff, mypy strict
# test39 the contract under Python 3.9 and numpy 1.26, as in Slicer 5.8 (PYTHON39=...; skipped where there is none)
# wheels every package into wheels/, for a machine without internet: there, make demo PIP_ARGS='--no-index --find-links wheels'
# bench  the fast ways beside the plain ones, as ratios   clean  remove the environment
PYTHON ?= python3.11
PYTHON39 ?= $(firstword $(shell ls $(HOME)/.pyenv/versions/3.9*/bin/python3.9 2>/dev/null) python3.9)
PIP_ARGS ?=
VENV := .venv
# Those that need no more than Slicer 5.8's own Python has.
TESTS39 := tests/contract $(addprefix tests/slicer_module/test_widget_,workflow.py clinical.py server.py)
.PHONY: demo test test39 check wheels bench clean
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --editable '.[dev]'
	touch $@
demo: $(VENV)/.ready
	$(VENV)/bin/lungxai demo --out out
test: $(VENV)/.ready
	$(VENV)/bin/pytest -q
test39:
	@if $(PYTHON39) -c '' 2>/dev/null; then \
	  $(PYTHON39) -m venv $(VENV)39 && \
	  $(VENV)39/bin/pip install --quiet --disable-pip-version-check numpy==1.26.4 'requests<3' 'pytest<9' 'hypothesis<7' && \
	  PYTHONPATH=.:SlicerLungXAI $(VENV)39/bin/python -m pytest -q -p no:cacheprovider $(TESTS39); \
	else echo 'test39: no Python 3.9 here, skipped; name one with PYTHON39=PATH'; fi
check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
wheels: $(VENV)/.ready
	$(VENV)/bin/pip download --quiet --disable-pip-version-check --dest wheels '.[dev]' 'setuptools>=69' wheel
bench: $(VENV)/.ready
	$(VENV)/bin/python -m tests.bench
clean:
	rm -rf $(VENV) $(VENV)39
