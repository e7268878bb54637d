#!/usr/bin/env bash
# Ends what start.sh has started; the packages stay.
set -euo pipefail

state=/var/lib/speechprompt-slurm
[ -d "$state" ] || exit 0
scancel --user=root >/dev/null 2>&1 || true
for file in "$state/slurmd.pid" "$state/slurmctld.pid" "$state/munged.pid"; do
    [ -e "$file" ] || continue
    pid=$(cat "$file")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
done
rm -rf "$state" /etc/slurm/slurm.conf /etc/slurm/gres.conf
