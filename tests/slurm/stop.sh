#!/usr/bin/env bash
# Ends what start.sh FOLDER has started, by its process numbers, and takes its configuration away.
set -uo pipefail
folder=$(realpath "$1")
for name in slurmd slurmctld munged; do
    [ -s "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")"
done
grep -qsF "# written by tests/slurm/start.sh" /etc/slurm/slurm.conf && rm /etc/slurm/slurm.conf
exit 0
