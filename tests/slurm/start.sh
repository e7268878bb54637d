#!/usr/bin/env bash
# Installs and starts a one-node Slurm on this machine, for tests/slurm and for trying the profile:
# tests/slurm/start.sh, later tests/slurm/stop.sh. Needs root and a Debian or Ubuntu that can install
# packages. Exits 1, with the reason as its last line, where that is not so. A Slurm that is
# configured on the machine already is left alone.
set -euo pipefail

conf=/etc/slurm/slurm.conf
state=/var/lib/speechprompt-slurm
cluster=speechprompt-test

refuse() {
    echo "$*"
    exit 1
}

[ "$(id -u)" = 0 ] || refuse "starting Slurm needs root"
if [ -e "$conf" ] && ! grep -q "^ClusterName=$cluster$" "$conf"; then
    refuse "$conf is there already: a cluster of this machine's own is left alone"
fi
if ! command -v slurmctld slurmd munged >/dev/null; then
    "$(dirname "$0")/../install.sh" slurm-wlm munge || exit 1
fi

host=$(hostname -s)
cpus=$(nproc)
((cpus > 1)) || cpus=2
mkdir -p /etc/slurm "$state/state" "$state/spool" /run/munge /var/log/munge
chown -R munge: /run/munge /var/log/munge /var/lib/munge /etc/munge
# The node offers two cores at least and the memory that rules ask for, whatever the machine has: the
# test's jobs need little.
# Without accounting the plugin asks squeue, which forgets a job MinJobAge seconds after its end, and
# so does scontrol, which the test asks last: no run is as slow as that. A job that takes more memory
# than it asked for is killed within a second or two.
cat >"$conf" <<CONF
ClusterName=$cluster
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=$state/state
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1
MinJobAge=7200
KillWait=2
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=65536 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
# A GPU in name only, so that requests for one can be looked at.
echo "Name=gpu File=/dev/null" >/etc/slurm/gres.conf

running() {
    [ -e "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null
}
if ! munge --no-input >/dev/null 2>&1; then
    runuser -u munge -- munged || refuse "munged does not start"
    ln -sf /run/munge/munged.pid "$state/munged.pid"
fi
running "$state/slurmctld.pid" || slurmctld || refuse "slurmctld does not start: $state/slurmctld.log"
running "$state/slurmd.pid" || slurmd -N "$host" || refuse "slurmd does not start: $state/slurmd.log"

for _ in $(seq 60); do
    if sinfo --noheader --format=%t 2>/dev/null | grep -qE '^(idle|mix|alloc)'; then
        echo "Slurm $(sinfo --version | cut -d' ' -f2) is up on $host"
        exit 0
    fi
    sleep 0.5
done
refuse "Slurm's node does not come up: $state/slurmctld.log"
