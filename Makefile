# make help
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
NIGHTS ?= 3
DROPS ?=
PYTEST_ARGS ?=
FORM ?=
# Bytecode halves every start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-celery demo up down status upgrade test test-celery test-containers test-flink test-fresh test-nights test-real test-spark test-unit test-clients lint lock quality bench bench-bar bench-drops bench-ingest bench-lineage bench-pages bench-scoring bench-serving bench-replicas bench-engines bench-executors bench-metrics soak audit sbom bench-retention

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: ## Make or repair the private environment .venv
	@scripts/setup.sh run

setup-celery: ## The same, and what several workers and places in a bucket need besides: docs/scaling.md, docs/object-storage.md
	@scripts/setup.sh celery

demo: setup ## Set up, start the service, run NIGHTS=3 nights of DROPS=<folder> (default: drops/, else samples)
	@$(if $(DROPS),DROPS_DIR="$(DROPS)" )exec $(PYTHON) -m retraining demo --nights $(NIGHTS)

up down status upgrade: setup ## The service: `make up`, `make down`, `make status`, `make upgrade`; all else: .venv/bin/retraining --help
	@exec $(PYTHON) -m retraining $@

# What is long takes as long again as everything else. The longest files come first, so that both processes end together.
test: ## The test suite, but for what is long, in two processes
	@scripts/setup.sh dev
	@exec $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long" $(PYTEST_ARGS)

test-real: ## Of the test suite what reads twelve nights, on real ones: DROPS=<folder>
	@[ -n "$(DROPS)" ] || { echo 'make test-real needs real drops: DROPS=<folder of the nights 2022-02-01 to 2022-02-12>' >&2; exit 2; }
	@$(MAKE) --no-print-directory test PYTEST_ARGS='--real-drops="$(DROPS)" $(PYTEST_ARGS)'

# Whole files: a file's tests may build on one another.
NIGHTS_TESTS := $(addprefix tests/e2e/test_,schedule.py whole_service.py service_in_a_bucket.py rehearsal.py twelve_nights.py backup.py upgrade.py) \
	$(addprefix tests/integration/test_,judged_nights.py pods.py quality.py replay.py tuning.py)
test-nights: ## What is long: services by the clock through outages, kills, twelve nights, a restore, an upgrade; a replay, a search
	@scripts/setup.sh dev
	@exec $(PYTHON) -m pytest $(NIGHTS_TESTS) $(if $(DROPS),--real-drops="$(DROPS)") $(PYTEST_ARGS)

test-celery: ## Nights on Celery workers: beside the scheduler, on machines of their own, killed, cut off, added (as root, needs redis-server, iptables)
	@scripts/setup.sh dev
	@exec $(PYTHON) -m pytest tests/e2e/test_celery.py $(PYTEST_ARGS)

test-flink: ## A night whose data nodes run on a Flink cluster, which loses a task manager amid a job (needs mvn, java)
	@scripts/setup.sh dev
	@exec $(PYTHON) -m pytest tests/e2e/test_data_engines.py -k flink $(PYTEST_ARGS)

test-spark: ## The same on a Spark cluster, which loses a worker
	@scripts/setup.sh dev
	@exec $(PYTHON) -m pytest tests/e2e/test_data_engines.py -k spark $(PYTEST_ARGS)

soak: ## A compressed year of a real service with faults, restarts, reboots and upkeep: NIGHTS=365, SEED=1
	@scripts/setup.sh dev
	@PYTHONPATH=.:tests exec $(PYTHON) tests/e2e/soak.py --nights $(if $(filter file,$(origin NIGHTS)),365,$(NIGHTS)) --seed $(or $(SEED),1)

test-unit: ## The quick part of it
	@scripts/setup.sh dev
	@exec $(PYTHON) -m pytest tests/unit tests/test_architecture.py $(PYTEST_ARGS)

test-clients: ## The model server asked by kserve, tritonclient, tf-serving and locust, each in an environment of its own
	@scripts/setup.sh dev
	@exec $(PYTHON) tests/serving/clients/run.py

test-containers: ## Both images built, and all of docker-compose.yaml run in them, without an engine (as root, needs buildah, debootstrap)
	@scripts/setup.sh dev
	@exec scripts/test_containers.sh tests/e2e/test_containers.py $(PYTEST_ARGS)

test-fresh: ## A fresh Debian 12 in a chroot: the demo as a new user and as root, the quick tests; FORM=short (as root, needs debootstrap)
	@exec scripts/test_fresh.sh $(FORM)

lint: ## Style and types
	@scripts/setup.sh dev
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@exec $(PYTHON) -m mypy

audit: ## Ask which pinned packages have known vulnerabilities, beyond those that security/accepted.toml accepts
	@scripts/setup.sh dev
	@exec $(PYTHON) scripts/audit.py

sbom: ## Write what the service and the model server are made of into sbom/, as CycloneDX
	@scripts/setup.sh dev
	@exec $(PYTHON) scripts/sbom.py

lock: ## Resolve requirements*.txt anew into the locks
	@scripts/setup.sh lock

# TensorFlow's banners, and warnings about versions that the pins decide.
bench% quality test-clients: export TF_CPP_MIN_LOG_LEVEL = 3
bench% quality test-clients: export PYTHONWARNINGS = ignore::FutureWarning

bench: ## Measure one night against one process and against stock settings
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.nightly

bench-ingest: ## Measure a year of drops through HeadlineExampleGen, beside stock CsvExampleGen
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.ingest

bench-engines: ## Measure a night of 4 million through HeadlineExampleGen, in one process and on Flink: HEADLINES= (needs mvn, java)
	@scripts/setup.sh dev
	@PYTHONPATH=.:tests exec $(PYTHON) -m benchmarks.engines $(if $(HEADLINES),--headlines $(HEADLINES))

bench-executors: ## Measure a night by the scheduler's own processes, and by Celery workers, warm and cold: DROPS=<folder>
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.executors $(if $(DROPS),--drops "$(DROPS)")

bench-drops: ## Try every fault of a drop on each night of DROPS=<folder> (default: samples), and what honest nights raise
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.drop_replay $(if $(DROPS),--drops "$(DROPS)")

quality: ## Measure the model on DROPS=<folder>: each night from the nights before it, beside LR and the article's model
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.quality --drops $(or $(DROPS),drops)

bench-lineage: ## Measure every question about lineage after 3 and 30 years of nights, beside MLMD's own API
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.lineage

bench-retention: ## Simulate three years of nights: what they leave on the disk with housekeeping, and without
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.retention

bench-pages: ## Measure every page of the web UI after 3 years of nights
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.pages

bench-metrics: ## Measure what the endpoint for Prometheus asks of the databases after 3 years of nights
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.metrics

bench-serving: ## Measure the model server under load, beside the same model in process
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.serving

bench-replicas: ## Measure answers by several processes, and by three replicas behind nginx through a swap, a rollback, a kill
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.replicas

bench-scoring: ## Measure a million headlines through the scoring nodes, beside a plain tf.data loop
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.scoring

bench-bar: ## Simulate nights to see how often the quality bar blesses or refuses wrongly, and draw the curve
	@scripts/setup.sh dev
	@exec $(PYTHON) -m benchmarks.bar
