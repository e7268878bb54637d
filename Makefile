# The same commands for users, contributors and CI. Needs only Python 3.11.4+ and the package registry.

PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || echo 2)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALL := envs/install.sh $(VENV)
# Another set-up than config.yaml: make results/mine/acc.txt CONFIG=mine.yaml
CONFIG =
SETUP := $(if $(CONFIG),--configfile '$(CONFIG)' --)
CODE := src tests benchmarks faults docs/hooks.py setup.py

# Snakemake ends in a traceback where it is given a file that there is not.
ifneq ($(CONFIG),)
ifneq ($(shell test -f '$(CONFIG)' && echo yes),yes)
$(error $(CONFIG): no such configuration file)
endif
endif

# Snakemake ends in a traceback where it cannot write its cache, before it reads the workflow.
ifneq ($(shell test -w "$$HOME" && echo yes),yes)
export XDG_CACHE_HOME ?= $(abspath .snakemake/caches)
endif

.PHONY: help all setup demo report docs test quality format reference cluster nano voices recordings bench faults clean FORCE

help: ## Show the targets
	@echo "make results/ks/acc.txt   set up the environment, then build any file under results/ with Snakemake;"
	@echo "                          CONFIG=mine.yaml takes another set-up than config.yaml"
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 26

all: $(VENV)/.run ## Every configured task
	PATH="$(abspath $(BIN)):$$PATH" snakemake --cores $(CORES) $(SETUP)

setup: $(VENV)/.run ## The environment, and nothing else

# Snakemake's own code warns of itself when it writes a report.
report: $(VENV)/.run ## Every configured task, and report.html to pass on
	PATH="$(abspath $(BIN)):$$PATH" snakemake --cores $(CORES) $(SETUP)
	PATH="$(abspath $(BIN)):$$PATH" PYTHONWARNINGS=ignore::RuntimeWarning snakemake --report report.html --report-stylesheet $(abspath workflow/report/style.css) $(SETUP)
	$(BIN)/speechprompt open-with-overview report.html --overview results/overview.html

# Forced: Snakemake, not make, knows whether a result is up to date.
results/%: $(VENV)/.run FORCE
	PATH="$(abspath $(BIN)):$$PATH" snakemake --cores $(CORES) $(SETUP) $@

demo: $(VENV)/.run ## Set up and serve a page to speak keywords and digits to, before any training
	$(BIN)/speechprompt demo

docs: $(VENV)/.docs ## The documentation as a site in site/, for `python3 -m http.server -d site`
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Two processes, on one core each.
test: $(VENV)/.dev ## Set up and run the tests
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

quality: $(VENV)/.dev ## Check layout, style, types and rules
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/snakefmt --check workflow/Snakefile rules
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" snakemake --lint

format: $(VENV)/.dev ## Lay out code and rules
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/snakefmt workflow/Snakefile rules

reference: $(VENV)/.dev ## Write docs/configuration.md and the JSON schema
	$(BIN)/speechprompt write-reference --page docs/configuration.md --schema docs/config.schema.json

cluster: $(VENV)/.cluster ## Set up for Slurm and Kubernetes

# The models of runs/nano in the place of those that ship.
MADE := 'encoders={nano: {weights: ../nano/results/encoders/nano/model.safetensors}}' \
	'codebooks={nano100: {weights: ../nano/results/codebooks/nano100.safetensors}}' \
	'lm={nano: {weights: ../nano/results/lm/nano/model.safetensors}}'

nano: $(VENV)/.voices ## Make what ships again, in runs/nano and runs/words, after `make recordings`
	PATH="$(abspath $(BIN)):$$PATH" snakemake --cores $(CORES) --directory runs/nano --configfile configs/nano.yaml
	PATH="$(abspath $(BIN)):$$PATH" snakemake --cores $(CORES) --directory runs/words \
		results/words/prompt/seed-1/prompt.safetensors results/units/nano100/words/valid/index.json \
		--configfile configs/words.yaml --config $(MADE)
	cd runs/words/results && $(abspath $(BIN))/speechprompt make-start words/prompt/seed-1/prompt.safetensors \
		--unit-lm lm/nano/model.safetensors --units units/nano100/words/valid/index.json --out words-nano.safetensors
	cd runs/nano/results && sha256sum encoders/nano/model.safetensors \
		codebooks/nano50.safetensors codebooks/nano100.safetensors codebooks/nano200.safetensors \
		lm/nano/model.safetensors ks/prompt.safetensors digits/prompt.safetensors \
		../../words/results/words-nano.safetensors

voices: $(VENV)/.voices ## Set up speech engines whose voices come from people (docs/corpora.md)

# Debian's packages with recordings of people (docs/corpora.md).
RECORDINGS := $(foreach l,en es fr it ru,asterisk-core-sounds-$(l)-g722) asterisk-prompt-es-co \
	asterisk-prompt-fr-armelle klettres-data ktuberling-data

recordings: $(VENV)/.voices ## Collect recordings of people from Debian's packages, for pre-training
	rm -rf runs/packages && mkdir -p runs/packages/unpacked
	cd runs/packages && apt-get download $(RECORDINGS) && for p in *.deb; do dpkg -x $$p unpacked || exit; done
	$(BIN)/speechprompt collect-recordings runs/packages/unpacked --out runs/nano/recordings

bench: $(VENV)/.dev ## Measure speed and memory against peers
	PATH="$(abspath $(BIN)):$$PATH" python -m benchmarks

faults: $(VENV)/.dev ## Inject some hundred faults and count what becomes of them
	PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 python -m faults

clean: ## Delete the environment, not the results
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4) and "Python 3.11.4 or newer is needed, found " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	-$(PIP) -r envs/uv.txt

$(VENV)/.run: envs/speechprompt.txt pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV): about 5 GB and a minute or two, once."
	@$(INSTALL) -r envs/speechprompt.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.cluster: envs/cluster.txt $(VENV)/.run
	@$(INSTALL) -r envs/speechprompt.txt -r envs/cluster.txt
	@touch $@

$(VENV)/.dev: envs/dev.txt envs/docs.txt envs/fairseq.txt $(VENV)/.cluster
	$(PIP) -r envs/speechprompt.txt -r envs/cluster.txt -r envs/dev.txt -r envs/docs.txt -r envs/fairseq.txt
	$(PIP) --no-deps fairseq==0.12.2
	@touch $@

# MkDocs reads docstrings without importing the package: it takes the versions of speechprompt.txt and not all of it.
$(VENV)/.docs: envs/docs.txt envs/speechprompt.txt | $(BIN)/python
	@$(INSTALL) -r envs/docs.txt -c envs/speechprompt.txt
	@touch $@

$(VENV)/.voices: envs/voices.txt $(VENV)/.run
	@$(INSTALL) -r envs/speechprompt.txt -r envs/voices.txt
	@touch $@
