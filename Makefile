# test   make the environment, then run every test       check  ruff, mypy strict
PYTHON ?= python3.11
VENV := .venv
.PHONY: test check clean
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
test: $(VENV)/.ready
	$(VENV)/bin/pytest -q
check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
clean:
	rm -rf $(VENV)
