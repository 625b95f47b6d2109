# What there is to do here. Every target gets what it needs itself.
.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

# Rollbook is many processes, which would each compile their libraries anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
# Five for two cores, since tests wait for two thirds of their time, and 8 at most, since each process
# has engines of its own.
TEST_PROCESSES ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores < 4 ? (5 * cores + 1) / 2 : 8)))

# Says what a long target does, how far it is and when it will end.
LONG := $(BIN)/python scripts/long.py

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: .venv/ready ## A private .venv with the locked dependencies and the command rollbook

.venv/ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Rollbook needs Python 3.11 or newer; '$(PYTHON)' is `$(PYTHON) -V 2>&1`. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "No virtual environment could be made. On Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || \
		{ echo "uv could not be installed. Is a Python package index reachable from here?"; exit 1; }
	@$(UV) pip sync --quiet --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## A synthetic file through the whole system, on a throw-away database
	@$(BIN)/rollbook demo

up: setup ## The whole system at http://127.0.0.1:8000
	@$(BIN)/rollbook up

test: setup ## All tests, against the real PostgreSQL and Valkey
	@$(BIN)/python -m pytest --numprocesses=$(TEST_PROCESSES) --dist=worksteal

stress-tests: setup ## All tests in random order beside busy processes (RUNS=10 SEED=1 TESTS=tests/page)
	@$(BIN)/python scripts/stress.py --processes $(TEST_PROCESSES) --runs $(or $(RUNS),10) --seed $(or $(SEED),1) $(TESTS)

faults: setup ## The fault tests many times (RUNS=25, SEED=1): about an hour
	@ROLLBOOK_FAULT_RUNS=$(or $(RUNS),25) ROLLBOOK_FAULT_SEED=$(or $(SEED),1) $(LONG) faults 60 'Breaks things under running uploads' -- $(BIN)/python -m pytest --timeout=7200 tests/faults tests/acceptance/test_join.py tests/integration/live/test_live.py

fuzz: setup ## Odd files before the reader, 20,000 of them (INPUTS=20000 SEED=1): ten minutes
	@ROLLBOOK_FUZZ_INPUTS=$(or $(INPUTS),20000) ROLLBOOK_FUZZ_SEED=$(or $(SEED),1) $(LONG) fuzz 10 'Odd files before the reader' -- $(BIN)/python -m pytest --timeout=3600 -s tests/security/test_reader_fuzz.py

properties: setup ## The property tests with examples that no run has tried (RUNS=20): ten minutes
	@ROLLBOOK_EXPLORE=1 $(LONG) properties 10 'New examples for the property tests' -- sh -e -c 'for run in $$(seq $(or $(RUNS),20)); do $(BIN)/python -m pytest -q -m hypothesis tests/unit tests/integration/pipeline; done'

fuzz-api: setup ## Requests made of the OpenAPI document, many of them (EXAMPLES=200): ten minutes
	@ROLLBOOK_API_EXAMPLES=$(or $(EXAMPLES),200) $(LONG) fuzz-api 10 'Requests made of the OpenAPI document' -- $(BIN)/python -m pytest --timeout=3600 tests/security/test_api_fuzz.py

clients: setup ## Clients of the REST interface by two generators, made and run (a minute, npm)
	@ROLLBOOK_CLIENTS=1 $(BIN)/python -m pytest tests/interop/test_clients.py

page: setup ## The tests of the page, with every view in every look (5 min, Chromium)
	@ROLLBOOK_PAGE_LOOKS=all $(LONG) page 5 'The page in every view and look' -- $(BIN)/python -m pytest --timeout=600 tests/page

oracle: setup ## Our rules of ID numbers against python-stdnum, on three million numbers
	@ROLLBOOK_ORACLE_NUMBERS=3000000 $(BIN)/python -m pytest --timeout=600 tests/unit/pipeline/test_id_numbers.py

bench-recovery: setup ## How long an upload waits after its worker was killed
	@$(LONG) bench-recovery 5 'How long an upload waits after its worker was killed' -- $(BIN)/python -m benchmarks.recovery

bench-queue: setup ## Our queue beside celery, rq, dramatiq, arq, saq, taskiq and huey (20 min)
	@PYTHONPATH=. $(LONG) bench-queue 20 'The queue beside its peers' -- $(BIN)/python -m benchmarks.queue

bench-pipeline: setup ## The pipeline beside Node, pandas and django-import-export (30 min, npm)
	@PYTHONPATH=. $(LONG) bench-pipeline 30 'The pipeline beside its peers' -- $(BIN)/python -m benchmarks.pipeline --million

bench-corpus: setup ## Cells read wrong without a word in 1,000 made office files, beside peers (5 min; FILES=1000)
	@PYTHONPATH=. $(LONG) bench-corpus 5 'Made office files through the pipeline' -- $(BIN)/python -m benchmarks.corpus --files $(or $(FILES),1000)

bench-live: setup ## A thousand live clients on one API process while 20 uploads run (3 min)
	@PYTHONPATH=. $(LONG) bench-live 3 'A thousand live clients' -- $(BIN)/python -m benchmarks.live

bench: ## All benchmarks, one after the other, and their pages (three hours on a quiet machine)
	@$(MAKE) --no-print-directory bench-corpus bench-queue bench-pipeline bench-live bench-scale bench-idle bench-fixes bench-recovery
	@$(BIN)/python scripts/docs_pages.py

bench-idle: setup ## What `rollbook up` takes at rest, and how soon it is ready (2 min)
	@PYTHONPATH=. $(LONG) bench-idle 2 'What rollbook up takes at rest' -- $(BIN)/python -m benchmarks.idle

bench-fixes: setup ## 100,000 refused rows listed, checked and sent, with the API's memory (2 min)
	@PYTHONPATH=. $(LONG) bench-fixes 2 'Fixing 100,000 refused rows' -- $(BIN)/python -m benchmarks.fixes
bench-members: setup ## How fast members are found and exported (5 min; MEMBERS="10000 1000000"; KEEP=folder of the databases)
	@PYTHONPATH=. $(LONG) bench-members 5 'How fast members are found and exported' -- $(BIN)/python -m benchmarks.members --members $(or $(MEMBERS),10000 100000 1000000) $(if $(KEEP),--keep $(KEEP))
bench-duplicates: setup ## How well possible duplicates are found, with planted pairs (3 min; MEMBERS=1000000)
	@PYTHONPATH=. $(LONG) bench-duplicates 3 'How well possible duplicates are found' -- $(BIN)/python -m benchmarks.duplicates --members $(or $(MEMBERS),1000000)

bench-estimates: setup ## How well the expected starts of waiting uploads are met (5 min)
	@PYTHONPATH=. $(LONG) bench-estimates 5 'How well expected starts are met' -- $(BIN)/python -m benchmarks.estimates

soak: setup ## A fault a minute under load, and nothing lost (MINUTES=30, SEED=1)
	@PYTHONPATH=. $(LONG) soak-$(or $(MINUTES),30) $(or $(MINUTES),30) 'A fault a minute under load' -- $(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1)

faults-long: setup ## Every kind of fault under load, with S3, and nothing lost (MINUTES=30, SEED=1, ONLY=everything_restarted; root)
	@PYTHONPATH=. $(LONG) faults-long-$(or $(MINUTES),30) $(or $(MINUTES),30) 'Every kind of fault under load' -- $(BIN)/python -m benchmarks.storm --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1) $(if $(ONLY),--only $(ONLY))

bench-scale: setup ## How it grows: 1 to 4 workers, 1k to 1M rows, 0 to 10M members (7 min; MORE="--most-rows 100000")
	@PYTHONPATH=. $(LONG) bench-scale 7 'How it grows' -- $(BIN)/python -m benchmarks.scale $(MORE)

bench-year: setup ## A year of records, p95 of every route, and their page (10 min; UPLOADS=200000)
	@PYTHONPATH=. $(LONG) bench-year 10 'A year of records' -- $(BIN)/python -m benchmarks.scale.year --uploads $(or $(UPLOADS),200000)

check: setup ## Lint, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## Put the code in shape
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url

lock: setup ## Lock the newest dependencies that fit pyproject.toml
	@$(LOCK) --upgrade pyproject.toml -o requirements/run.txt
	@$(LOCK) --upgrade pyproject.toml --group dev -o requirements/dev.txt
	@$(LOCK) --upgrade requirements/build.in -o requirements/build.txt
	@$(LOCK) --upgrade requirements/dist.in -o requirements/dist.txt

dist: setup ## What is published, in dist/: built, checked, and tried with pip only (PYTHONS="python3.12")
	@$(BIN)/python -m scripts.dist $(PYTHONS)

image: setup ## The image, tried read-only as uid 10001, by docker, podman or buildah (TOOL=podman BASE=python:3.12-slim)
	@$(BIN)/python scripts/image.py $(if $(TOOL),--tool $(TOOL)) $(if $(BASE),--base $(BASE))

docs: setup ## The documentation's site, in site/; broken links are refused
	@$(BIN)/python scripts/docs_pages.py
	@$(BIN)/zensical build --strict --clean

readme: setup ## The commands of README and tutorial, as a newcomer types them (a minute; port 8000)
	@$(BIN)/python scripts/readme.py

audit: setup ## Known vulnerabilities of the locked dependencies, of the tools too (network)
	@for locked in run dev; do \
		$(BIN)/pip-audit --strict --require-hashes --disable-pip -r requirements/$$locked.txt || \
		{ echo "requirements/$$locked.txt is not shown to be free of known vulnerabilities: above is which package has one, or that the service at pypi.org could not be asked about it."; exit 1; }; \
	done

clean: ## Remove what was made here (data folders stay)
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build
