# Every command a user or a developer needs; README.md has the same as plain lines.
PYTHON ?= python3
BIN := .venv/bin
export TF_CPP_MIN_LOG_LEVEL := 3
DEMO := runs/demo-data

.PHONY: setup demo test test-slow lint bench

setup: .venv/ready

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

demo: setup
	PATH=$(CURDIR)/$(BIN):$$PATH tfds build tfds_builders/histo_demo --config default --data_dir $(DEMO)
	$(BIN)/python train.py --config configs/demo.py --config.data.dir=$(DEMO)
	$(BIN)/python eval.py --config configs/probe.py --checkpoint runs/demo \
	  --config.data.dir=$(DEMO) --config.dataset=histo_demo/default
	@printf '%s\n' '' \
	  'The report: runs/demo/report.html (the slides: $(DEMO)/histo_demo/default/2.0.0/slides.html)' \
	  'Your own slides:' \
	  '  source $(BIN)/activate' \
	  "  tfds build tfds_builders/histo_wsi --config '{\"name\": \"mylab\", \"mpp\": 0.5}' --manual_dir slides/" \
	  "  python train.py --config configs/simclr_r18.py --config.data.datasets=\"(('histo_wsi/mylab', None),)\"" \
	  '  python eval.py --config configs/probe.py --checkpoint runs/simclr_r18 --config.dataset=histo_labelled/mylab'

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: setup
	for name in input_pipeline train_step ntxent probe; do $(BIN)/python benchmarks/$$name.py || exit 1; done
