# One virtual environment for everything, made once and again only when its recipe changes.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: sweep test test-kill test-cluster soak test-jax check audit bench clean

sweep: $(READY)  ## the dropout sweep on the digits inside scikit-learn, then the best-model table
	$(BIN)/sweeps run dropout --data digits

# Two at a time, each a file: most wait for processes that start, or trace on one core.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

test: $(READY)  ## all tests but those that kill and those of a cluster
	$(BIN)/python -m pytest $(if $(CI),-q) $(TWO) -m "not kill and not cluster"

test-kill: $(READY)  ## real runs whose processes are killed, then resumed: minutes
	$(BIN)/python -m pytest $(if $(CI),-q) $(TWO) -m kill

test-cluster: $(READY)  ## as root: a real `ray up` on machines made of namespaces, Ray's autoscaler against what plays AWS: minutes
	$(BIN)/python -m pytest $(if $(CI),-q) -m cluster

soak: $(READY)  ## ten minutes of runs whose processes are killed at random, each compared with a calm one
	$(BIN)/python -m tests.sweeps.soak

# JAX's convolutions are slow on a CPU and compiling is most of it: without optimization, and each program once.
test-jax: $(READY)  ## training, augmentation, evaluation and freezing on JAX
	KERAS_BACKEND=jax JAX_PLATFORMS=cpu JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
	JAX_COMPILATION_CACHE_DIR=.pytest_cache/jax JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
	$(BIN)/python -m pytest $(if $(CI),-q) $(addprefix tests/trainables/test_,training.py schedule.py augmentation.py evaluation.py pretrained.py fine_tune.py graphs.py seeds.py)

check: $(READY)  ## style, format and types
	$(BIN)/ruff check $(if $(CI),--quiet) .
	$(BIN)/ruff format $(if $(CI),--quiet) --check .
	$(BIN)/mypy

audit: $(READY)  ## known holes of every pinned dependency, which are looked up in a network
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

bench: $(READY)  ## comparisons with what a user would write otherwise; byte code is cached as on any user's machine
	set -e; for script in bench/*.py; do env -u PYTHONDONTWRITEBYTECODE $(BIN)/python "$$script"; done

clean:  ## everything that can be made again, but no data, run or result
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
