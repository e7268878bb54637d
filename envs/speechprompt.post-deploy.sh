#!/bin/sh
# Run by Snakemake in the conda environment it made: the package of this checkout, without its dependencies.
# Editable, so that jobs always compute with the code that the rules were read from.
set -eu
python -m pip install --no-deps --editable "$SPEECHPROMPT_CHECKOUT"
