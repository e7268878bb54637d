#!/usr/bin/env bash
# Installs programs that tests use where they find them: tests/install.sh PACKAGE... Needs a Debian or
# Ubuntu. Says nothing, or exits 1 with the reason.
set -euo pipefail

refuse() {
    echo "$*"
    exit 1
}

command -v apt-get >/dev/null || refuse "there is no apt-get to install $* with"
export DEBIAN_FRONTEND=noninteractive
apt=(timeout 300 apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20)
install=("${apt[@]}" install -y --no-install-recommends "$@")
{
    "${install[@]}" || { "${apt[@]}" update && "${install[@]}"; }
} >/dev/null 2>&1 || refuse "could not be installed: $*"
