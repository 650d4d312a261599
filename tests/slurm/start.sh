#!/usr/bin/env bash
# A SLURM of one node on this machine: start.sh FOLDER starts munge, slurmctld and slurmd, whose state, logs and process
# numbers go to FOLDER; stop.sh FOLDER ends them. Exit code 1 with one line where that cannot be done.
#
# Tried on Debian 12 with slurm-wlm 22.05. Needs root, because the configuration must stand in /etc/slurm: a job's inner
# srun inherits no SLURM_CONF. A configuration that is not of this script is left alone.
set -euo pipefail
folder=$(realpath "$1")
conf=/etc/slurm/slurm.conf
mark="# written by tests/slurm/start.sh"
die() { echo "SLURM: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root"
for program in munged slurmctld slurmd srun sbatch squeue; do
    command -v "$program" > /dev/null || die "$program is not installed (apt-get install slurm-wlm munge)"
done
[ ! -e "$conf" ] || grep -qF "$mark" "$conf" || die "$conf is of another SLURM"
mkdir -p "$folder"/{state,spool,log} /etc/slurm /run/munge

if ! munge -n 2> /dev/null | unmunge > /dev/null 2>&1; then
    [ -s /etc/munge/munge.key ] || dd if=/dev/urandom of=/etc/munge/munge.key bs=1 count=1024 status=none
    chown munge:munge /etc/munge/munge.key /run/munge
    chmod 400 /etc/munge/munge.key
    chmod 755 /run/munge
    rm -f /run/munge/munge.socket.2*
    runuser -u munge -- munged
    cp /run/munge/munged.pid "$folder/munged.pid"
fi

host=$(hostname -s)
cpus=$(getconf _NPROCESSORS_ONLN)  # nproc heeds OMP_NUM_THREADS
megabytes=$(awk '/^MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
cat > "$conf" << EOF
$mark
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MinJobAge=3600
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$megabytes
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
slurmctld
slurmd
for _ in $(seq 60); do
    if [ "$(sinfo -h -o %T 2> /dev/null)" = idle ]; then exit 0; fi
    sleep 0.5
done
die "the node is not idle after 30 s: $(sinfo -h -o %T 2>&1); see $folder/log"
