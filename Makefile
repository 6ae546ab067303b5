# The same verbs at home and in CI. `make run` and `make test` need nothing but a fresh clone.

# make reads this before tools/setup.sh has run, so that is where setup.sh puts a missing uv.
UV = $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
PY = .venv/bin/python
ARGS ?=

.PHONY: run test build style types unit foreign crash fuzz wheel differential interop-campaign metadata-campaign bench clean kill eio disk-full compare-faults power-cut device-error damage sim lanes mutants failpoints

run: ## builds what is missing and serves: name server and broker in one process
	@tools/setup.sh run
	@$(UV) sync --quiet --no-dev
	@$(UV) run --no-sync pyromq standalone $(ARGS)

test: ## everything: style, types, contracts, unit, foreign clients, crash, fuzz, wheel
	@tools/setup.sh test
	@$(UV) sync --quiet
	@$(PY) tools/run_tests.py all

build: ## the native engine, and the package installed for editing
	@tools/setup.sh run
	@$(UV) sync

style types unit foreign crash fuzz wheel: ## one part of `make test`
	@tools/setup.sh test
	@$(UV) sync --quiet
	@$(PY) tools/run_tests.py $@

differential: ## the same client programs against a live Apache server and ours: equal outcomes
	@tools/setup.sh test
	@$(UV) sync --quiet
	@$(PY) -m pytest -q -m differential --timeout 300 --peer apache tests/integration
	@$(PY) -m pytest -q -m differential --timeout 300 tests/integration

interop-campaign: ## the store back and forth between ours and Apache's, ROUNDS= times
	@tools/setup.sh test
	@$(UV) sync --quiet
	@PYROMQ_INTEROP_ROUNDS=$(or $(ROUNDS),30) \
		$(PY) -m pytest -q -rA -k campaign tests/integration/test_store_hand_overs.py

metadata-campaign: ## MUTATIONS= damages of the metadata's files, each followed by a start
	@tools/setup.sh run
	@$(UV) sync --quiet
	@PYROMQ_METADATA_MUTATIONS=$(or $(MUTATIONS),5000) PYROMQ_LEDGER=yes \
		$(PY) -m pytest -q -rA --timeout 3600 tests/crash/test_metadata_damage.py

CYCLES ?= 300
SEED ?= 1

kill: ## so many kill -9 under load, every rule checked; appends to tests/ledger.tsv
	@tools/setup.sh run
	@$(UV) sync --quiet
	@$(PY) -m tools.campaign kill --cycles $(CYCLES) --seed $(SEED)

eio: ## EIO at CYCLES random points of a busy broker's system calls; appends to tests/ledger.tsv
	@tools/setup.sh test
	@$(UV) sync --quiet
	@$(PY) -m tools.campaign eio --cycles $(CYCLES) --seed $(SEED)

disk-full: ## RUNS= small disks filled up under load, killed, freed; appends to tests/ledger.tsv; needs root
	@tools/setup.sh run
	@$(UV) sync --quiet
	@$(PY) -m tools.campaign disk-full --cycles $(or $(RUNS),20) $(if $(SEED),--seed $(SEED))

failpoints: ## ROUNDS= lives of a process that ends or fails at a chosen step; appends to tests/ledger.tsv
	@tools/setup.sh run
	@$(UV) sync --quiet
	@$(PY) -m tools.campaign failpoints --cycles $(or $(ROUNDS),300) --seed $(SEED)

compare-faults: ## kill -9, EIO, a flipped bit and a full disk on our server and on Apache's: a table
	@tools/setup.sh test
	@$(UV) sync --quiet
	@$(PY) -m tools.compare_faults $(ARGS)

power-cut: ## CUTS= power cuts of ext4 on a disk that forgets what was not flushed; needs root
	@tools/setup.sh power
	@$(UV) sync --quiet
	@PYROMQ_POWER_CUTS=$(or $(CUTS),30) $(PY) -m pytest -q -rA tests/crash/test_power_cut.py

device-error: ## ERRORS= sectors that a device refuses under ext4, a restart, a power cut; needs root
	@tools/setup.sh power
	@$(UV) sync --quiet
	@PYROMQ_DEVICE_ERRORS=$(or $(ERRORS),20) $(PY) -m pytest -q -rA tests/crash/test_device_error.py

bench: ## ours and Apache's server under the same loads, a page in bench/results (25 minutes; ARGS="--works pipelined,single")
	@tools/setup.sh run
	@$(UV) sync --quiet
	@cd bench/load && cargo build --release --quiet
	@$(PY) -m bench.measure $(ARGS)

damage: ROUNDS ?= 5000
damage: SEED ?= $(shell date +%s)
damage: ## damages a small store in ROUNDS ways from SEED on, any bit of it; noted in tests/ledger.tsv
	@tools/setup.sh run
	@ROUNDS=$(ROUNDS) SEED=$(SEED) python3 tools/damage.py

sim: ## the engine on a simulated disk: RUNS=200000 cut points from SEED on, MODE=slow; noted in tests/ledger.tsv
	@tools/setup.sh run
	@python3 tools/simulate.py

EXAMPLES ?= 500
lanes: ## EXAMPLES= random traffics to a broker with the express lane and to one without
	@tools/setup.sh run
	@$(UV) sync --quiet
	@PYROMQ_LANE_EXAMPLES=$(EXAMPLES) $(PY) -m pytest -q --timeout 7200 tests/properties/test_lanes_equal.py

mutants: ## planted bugs, one at a time (ARGS= some names): each must be caught by its test
	@tools/setup.sh run
	@$(UV) sync --quiet
	@$(PY) -m tools.mutants $(ARGS)

clean:
	rm -rf .venv dist native/target bench/load/target tests/foreign/java/target tests/foreign/go/bin
