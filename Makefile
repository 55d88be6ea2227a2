# `make demo` and `make test` do everything on a fresh machine; they need python3 (3.11 or newer) with venv.
# A second run reinstalls nothing unless pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
# Passed to every `pip install`: for instance an extra index with another build of torch.
PIP_FLAGS ?=
# Passed to pytest: for instance `make test PYTEST_FLAGS='-n 2'`.
PYTEST_FLAGS ?=
# Passed to the benchmark: for instance `make bench BENCH_FLAGS='--quick --no-peers'`.
BENCH_FLAGS ?=

FULL := .venv/bin/python
THIN := .venv-thin/bin/python
PEERS := .venv-peers/bin/python
READY := .venv/.ready .venv-thin/.ready

.DELETE_ON_ERROR:
.PHONY: help demo test test-gpu lint conformance functorch-tests bench clean

help:
	@echo "make demo             install, start a server, and differentiate on it from a client without torch"
	@echo "make test             install, ruff, and the whole test suite"
	@echo "make test-gpu         what a GPU computes, beside what the CPU computes; needs an NVIDIA GPU"
	@echo "make lint             ruff and pyright"
	@echo "make conformance      every operator of torch's own database; writes docs/operators.md and flat_programs.md"
	@echo "make functorch-tests  PyTorch's own functorch tests, with the transforms swapped for ours"
	@echo "make bench            farfunc beside local torch.func, Tesseract and UM-Bridge; writes docs/benchmarks.md"
	@echo "make clean            remove the environments and everything built"

demo: $(READY)
	$(FULL) examples/run_demo.py --thin-python $(THIN)

test: $(READY)
	@tests/support/services.sh
	$(FULL) -m ruff check
	$(FULL) -m pytest $(PYTEST_FLAGS)

test-gpu: .venv/.ready
	$(FULL) -m pytest tests/gpu -m gpu $(PYTEST_FLAGS)

lint: .venv/.ready
	$(FULL) -m ruff check
	$(FULL) -m pyright

conformance: .venv/.ready
	$(FULL) tests/conformance/run.py
	$(FULL) tests/conformance/run.py --flat

functorch-tests: .venv/.ready
	$(FULL) tests/functorch/run.py

bench: $(READY) $(if $(findstring --no-peers,$(BENCH_FLAGS)),,.venv-peers/.ready)
	$(FULL) benchmarks/run.py --thin-python $(THIN) --peers-python $(PEERS) $(BENCH_FLAGS)

clean:
	rm -rf .venv .venv-thin .venv-peers build dist .pytest_cache .ruff_cache .hypothesis

# .venv: the server, the torch client and the tools. .venv-thin: what `pip install farfunc` brings, and pytest.
.venv/.ready: WHAT = -e '.[server,dev]'
.venv-thin/.ready: WHAT = -e . pytest pytest-timeout

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "farfunc needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(@D)/bin/pip || { rm -rf $(@D) && $(PYTHON) -m venv $(@D); } \
		|| { rm -rf $(@D); echo "python3 -m venv failed: install your system's package for it (Debian: python3-venv)" >&2; exit 1; }
	@echo "installing into $(@D) ($(if $(findstring server,$(WHAT)),with torch: some minutes the first time,a few seconds)) ..."
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt $(WHAT)
	@touch $@

# .venv-peers: other servers of derivatives, with the versions that they pin, apart from ours.
.venv-peers/.ready: benchmarks/peers.txt
	@test -x $(@D)/bin/pip || { rm -rf $(@D) && $(PYTHON) -m venv $(@D); }
	@echo "installing into $(@D) (with torch: some minutes the first time) ..."
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -r benchmarks/peers.txt
	@touch $@
