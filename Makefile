# demo   make the environment, run a synthetic case, say where to look (out/)
# test   make the environment, then run every test       check  ruff, mypy strict
# bench  the fast ways beside the plain ones, as ratios   clean  remove the environment
PYTHON ?= python3.11
VENV := .venv
.PHONY: demo test check bench clean
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
demo: $(VENV)/.ready
	$(VENV)/bin/lungxai demo --out out
test: $(VENV)/.ready
	$(VENV)/bin/pytest -q
check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
bench: $(VENV)/.ready
	$(VENV)/bin/python -m tests.bench
clean:
	rm -rf $(VENV)
