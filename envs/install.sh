#!/bin/sh
# Installs requirements into a virtual environment: envs/install.sh VENV -r FILE…
# uv takes half of pip's time. It does not read pip's settings: where it finds no registry, pip does the work.
# On a terminal, a line shows how far it is.
set -eu
venv=$1
shift
python=$venv/bin/python

installed() { find "$venv"/lib/python*/site-packages -maxdepth 1 -name '*.dist-info' | wc -l; }

required() {
    while [ $# -gt 1 ]; do
        [ "$1" != -r ] || grep '==' "$2"
        shift
    done
}

show() {
    wanted=$(required "$@" | sort -u | wc -l)
    seconds=0
    while sleep 1; do
        seconds=$((seconds + 1))
        printf '\r\033[Kinstalling %s packages: %s there, %s s' "$wanted" "$(installed)" "$seconds"
    done
}

if [ -t 2 ]; then
    show "$@" >&2 &
    shown=$!
    trap 'kill "$shown" 2>/dev/null || true; printf "\r\033[K" >&2' EXIT
fi
"$venv/bin/uv" pip install --quiet --system-certs --python "$python" "$@" 2>/dev/null ||
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
