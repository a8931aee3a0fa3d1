PYTHON ?= python3
PIP_OPTIONS ?=
BENCH_OPTIONS ?=
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "videolib needs Python 3.11 or newer: make PYTHON=python3.11")'

.PHONY: demo test test-fast test-weights test-ray test-singlestore test-browser browser lab datastudio bench check format clean

demo: .venv/installed
	.venv/bin/python -m tools.run_demo

test: .venv/open-clip-installed check
	.venv/bin/python -m pytest --numprocesses auto --dist loadscope --cov=videolib --cov-report=term

test-fast: .venv/installed check  # without models, servers, notebooks and other slow ones
	.venv/bin/python -m pytest --numprocesses auto -m "not slow"

test-weights: .venv/installed  # OpenAI's ViT-B/32, downloaded where it is missing, beside values that others published
	DOWNLOAD_WEIGHTS=1 .venv/bin/python -m pytest -m weights -rs

test-ray: .venv/ray-installed  # on a cluster of two nodes, on this machine
	.venv/bin/python -m pytest tests/ingestion/test_cluster.py -rs

test-singlestore: .venv/installed  # SINGLESTOREDB_URL, else SingleStore's Docker image
	test -n "$$SINGLESTOREDB_URL" || .venv/bin/python -m pip install --quiet docker
	.venv/bin/python tools/test_singlestore.py

test-browser: browser
	.venv/bin/python -m pytest -m browser

browser: .venv/installed  # Playwright, and Chromium where there is none
	.venv/bin/python -m pip install --quiet --constraint constraints.txt playwright
	command -v chromium || command -v chromium-browser || command -v google-chrome || \
		{ test "$$(id -u)" = 0 && command -v apt-get && apt-get update && apt-get install --yes chromium; } || \
		.venv/bin/python -m playwright install chromium

lab: .venv/installed  # on copies in lab/, which are yours
	.venv/bin/python -m tools.open_lab

datastudio:  # by Python and its pip alone, without .venv
	$(CHECK_PYTHON)
	$(PYTHON) tools/build_datastudio.py

bench: .venv/bench-installed
	.venv/bin/python -m benchmarks.run $(BENCH_OPTIONS)

check: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/nbstripout --verify --keep-id notebooks/*.ipynb

format: .venv/installed
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/nbstripout --keep-id notebooks/*.ipynb
	.venv/bin/python tools/link_notebooks.py
	.venv/bin/python tools/make_api_page.py

.venv/installed: pyproject.toml constraints.txt
	$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --no-compile --constraint constraints.txt $(PIP_OPTIONS) --editable '.[dev]'
	.venv/bin/python -m compileall -qq -j 0 -x /tests/ .venv/lib || true  # on all cores; pip takes one, and Python 2 fails
	# jupysql's part in the browser, a button in every notebook; %sql does without
	.venv/bin/python -m jupyterlab.labextensions disable jupysql-plugin --level=sys_prefix
	touch $@

.venv/open-clip-installed: .venv/installed
	.venv/bin/python -m pip install --quiet --constraint constraints.txt $(PIP_OPTIONS) --editable '.[open-clip]'
	touch $@

.venv/ray-installed: .venv/installed
	.venv/bin/python -m pip install --quiet --constraint constraints.txt $(PIP_OPTIONS) --editable '.[ray]'
	touch $@

.venv/bench-installed: .venv/installed
	.venv/bin/python -m pip install --quiet --constraint constraints.txt $(PIP_OPTIONS) --editable '.[bench]'
	touch $@

clean:
	rm -rf .venv build
