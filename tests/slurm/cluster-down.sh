#!/usr/bin/env bash
# Ends what cluster-up.sh started in DIRECTORY: its jobs, its daemons (by recorded process, the name checked).
#   usage: cluster-down.sh DIRECTORY
set -u
LAB=$1
[ -d "$LAB" ] || exit 0
export SLURM_CONF=$LAB/slurm.conf
if timeout 5 scontrol ping >/dev/null 2>&1; then
    timeout 10 scancel -u "$(id -un)" 2>/dev/null
    for _ in $(seq 20); do [ -z "$(timeout 5 squeue -h -t R,CG 2>/dev/null)" ] && break; sleep 0.5; done
fi
for daemon in slurmd slurmctld munged; do
    cat "$LAB/pids" "$LAB"/*.pid "$LAB/munge/pid" 2>/dev/null | sort -un | while read -r process; do
        case "$(cat "/proc/$process/comm" 2>/dev/null)" in
            $daemon*)
                kill "$process" 2>/dev/null
                for _ in $(seq 25); do kill -0 "$process" 2>/dev/null || break; sleep 0.2; done
                kill -9 "$process" 2>/dev/null
                ;;
        esac
    done
done
rm -rf "$LAB"
