# Each target sets up its own .venv. PYTHON picks the interpreter (>= 3.11).
PYTHON ?= python3
BIN := .venv/bin
# BLAS threads beyond the cores only fight each other; tokenizers fork badly.
export TOKENIZERS_PARALLELISM := false
export MLFLOW_DISABLE_TELEMETRY := true

# An environment beside the project's own: delphi wants transformers below 5. What only its judges need (vLLM and others) is left out.
DELPHI ?= .venv-delphi

.PHONY: demo test test-browser site site-check test-slow test-lowest test-highest release test-foreign test-delphi lint gate docs docs-check benchmarks speed-gate beside-delphi clean

CI := tests/constraints/ci.txt

$(BIN)/.ready: pyproject.toml $(CI)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c $(CI) -e '.[dev]'
	touch $@

demo: $(BIN)/.ready
	$(BIN)/bench demo

test: $(BIN)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --benchmark-disable -m "not slow and not gpu and not browser"

# The pages of `bench view` in chromium (apt-get install chromium; CHROMIUM names another), with axe-core out of front/node_modules.
FRONT := bench/latentbench/site/front
$(FRONT)/node_modules/.ready: $(FRONT)/package-lock.json
	cd $(FRONT) && npm ci --no-audit --no-fund --silent
	touch $@

test-browser: $(BIN)/.ready $(FRONT)/node_modules/.ready
	LATENTBENCH_BROWSER=1 $(BIN)/python -m pytest -n 2 --dist loadfile --benchmark-disable -m browser tests/site

# Bundles front/ into built/, which is committed; `site-check` bundles it again elsewhere and compares every byte.
site: $(FRONT)/node_modules/.ready
	cd $(FRONT) && npx tsc --noEmit && node build.mjs

site-check: $(FRONT)/node_modules/.ready
	cd $(FRONT) && npx tsc --noEmit && out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && node build.mjs "$$out" && diff -r "$$out" ../built

test-slow: $(BIN)/.ready
	$(BIN)/python -m pytest -m slow

# The two ends of the ranges in pyproject.toml, resolved by uv on the day, in environments of their own (6 GB each: uv reads no find-links of
# pip and takes the torch with CUDA). What runs is the subset that touches each library: tests/constraints/subset.txt.
.venv-lowest/.ready .venv-highest/.ready: .venv-%/.ready: pyproject.toml
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install -q uv
	.venv-$*/bin/uv pip install -q -p .venv-$*/bin/python --resolution $(if $(filter lowest,$*),lowest-direct,highest) -e '.[dev]'
	touch $@

test-lowest test-highest: test-%: .venv-%/.ready
	.venv-$*/bin/python -m pytest --benchmark-disable -m "not slow and not gpu and not browser" $$(cat tests/constraints/subset.txt)

# Both distributions, as wheels and source archives: built, checked by size and content, installed and used in an empty folder.
.venv-release/.ready:
	test -x .venv-release/bin/python || $(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install -q build twine
	touch $@

release: .venv-release/.ready
	rm -rf dist
	.venv-release/bin/python -m build -o dist .
	.venv-release/bin/python -m build -o dist tasks
	.venv-release/bin/twine check --strict dist/*
	.venv-release/bin/python tests/packaging/release_check.py dist

# Coders that other people's libraries wrote, against their own encode and decode: some 2 GB, in an environment of its own.
# torchvision comes with nnsight in a build for another torch, and breaks the import of transformers.
.venv-foreign/.ready: pyproject.toml $(CI)
	test -x .venv-foreign/bin/python || $(PYTHON) -m venv .venv-foreign
	.venv-foreign/bin/pip install -q -c $(CI) -e '.[foreign]'
	.venv-foreign/bin/pip uninstall -q -y torchvision
	touch $@

test-foreign: .venv-foreign/.ready
	.venv-foreign/bin/python -m pytest -s tests/foreign

$(DELPHI)/.ready:
	test -x $(DELPHI)/bin/python || $(PYTHON) -m venv $(DELPHI)
	$(DELPHI)/bin/pip install -q 'torch>=2.6,<2.14' 'transformers>=4.50,<5' datasets orjson safetensors simple_parsing jaxtyping \
		fire aiofiles anyio asyncer beartype einops natsort accelerate tiktoken httpx schedulefree
	$(DELPHI)/bin/pip install -q --no-deps 'eai-delphi>=0.1.3,<0.2' 'eai-sparsify>=1.3,<2'
	touch $@

test-delphi: $(BIN)/.ready $(DELPHI)/.ready
	LATENTBENCH_DELPHI=$(abspath $(DELPHI))/bin/python $(BIN)/python -m pytest tests/suites/test_delphi_itself.py

lint: $(BIN)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict bench/latentbench
	$(BIN)/lint-imports

# Deterministic judges: an unchanged tree gives the frozen numbers. The machine may be busy, so time counts for little.
GATED := gate:planted-1 gate-embedding:smollm2-135m-mini gate-concepts:concepts-1 gate-explainers:planted-1-explainers \
	gate-trained:planted-1-trained gate-direction:smollm2-135m-mini-direction

gate: $(BIN)/.ready
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && for pair in $(GATED); do \
		$(BIN)/bench gate tasks/runs/$${pair%:*}.yaml --baseline leaderboards/gate/$${pair#*:}.json --out $$out/$${pair%:*} \
			--max-latency 20 || exit; \
	done

.venv-docs/.ready: pyproject.toml
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install -q $$(.venv-docs/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	touch $@

# The pages as a site in site/, to be opened from disk. It fails on a link to nowhere and on anything that another host would send.
docs: .venv-docs/.ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo open site/index.html

docs-check: $(BIN)/.ready
	$(BIN)/python -m pytest tests/docs

# Ratios to the bare work in the same run: into docs/performance.md, or compared with the committed ones (0 pass, 1 fail, 3 inconclusive,
# 4 not comparable).
benchmarks: $(BIN)/.ready
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-json=$$out/speed.json && $(BIN)/python benchmarks/report.py write $$out/speed.json

speed-gate: $(BIN)/.ready
	out=$$(mktemp -d) && trap 'rm -rf "$$out"' EXIT && \
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-json=$$out/speed.json && $(BIN)/python benchmarks/report.py gate $$out/speed.json

beside-delphi: $(BIN)/.ready $(DELPHI)/.ready
	$(BIN)/python benchmarks/beside_delphi.py --delphi $(DELPHI)/bin/python && $(BIN)/python benchmarks/report.py page

clean:
	rm -rf .venv .venv-foreign .venv-delphi .venv-lowest .venv-highest .venv-release .venv-docs dist site .mypy_cache .ruff_cache .pytest_cache
