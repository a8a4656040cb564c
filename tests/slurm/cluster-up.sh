#!/usr/bin/env bash
# Starts a throw-away SLURM cluster on this machine, without systemd and cgroups: several slurmd as nodes n1, n2, ...
#   usage: cluster-up.sh DIRECTORY NODES CPUS_PER_NODE FAKE_GPUS_PER_NODE FIRST_PORT
# All state is in DIRECTORY, which must be new; `. DIRECTORY/env` makes SLURM's commands use this cluster, and
# cluster-down.sh DIRECTORY ends it. The controller listens on FIRST_PORT, the nodes on those after it. The "GPUs"
# are /dev/null under other names: they show how jobs are scheduled.
set -euo pipefail
LAB=$1 NODES=$2 CPUS=$3 GPUS=$4 BASE=$5
# The daemons are where the PATH of a user who is not root may not lead.
PATH=$PATH:/usr/sbin:/sbin
MEM=$(( $(awk '/MemTotal/{print int($2/1024)}' /proc/meminfo) * 9 / 10 / NODES ))
HOST=$(hostname -s)
for c in munged slurmctld slurmd sinfo; do
    command -v "$c" >/dev/null || { echo "SLURM is not installed ($c is missing): run launch/setup.sh test" >&2; exit 2; }
done
mkdir -p "$LAB"/{munge,ctld,log}; chmod 755 "$LAB"; chmod 700 "$LAB/log"; : > "$LAB/pids"

# --- munge: own key, own socket, runs as the calling user
chmod 711 "$LAB/munge"
head -c 128 /dev/urandom > "$LAB/munge/key"; chmod 400 "$LAB/munge/key"
munged --key-file="$LAB/munge/key" --socket="$LAB/munge/sock" --pid-file="$LAB/munge/pid" \
       --log-file="$LAB/munge/log" --seed-file="$LAB/munge/seed" --num-threads=2
cat "$LAB/munge/pid" >> "$LAB/pids"

# --- config
if [ "$NODES" = 1 ]; then NL=n1; else NL="n[1-$NODES]"; fi
P1=$((BASE+1)); if [ "$NODES" = 1 ]; then PL=$P1; else PL="[$P1-$((BASE+NODES))]"; fi
cat > "$LAB/slurm.conf" <<C
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$BASE
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$LAB/munge/sock,cred_expire=5
StateSaveLocation=$LAB/ctld
SlurmdSpoolDir=$LAB/spool.%n
TmpFS=$LAB/tmp.%n
SlurmctldPidFile=$LAB/slurmctld.pid
SlurmdPidFile=$LAB/slurmd.%n.pid
SlurmctldLogFile=$LAB/log/slurmctld.log
SlurmdLogFile=$LAB/log/slurmd.%n.log
TaskProlog=$LAB/taskprolog
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1,sched_min_interval=0
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$LAB/log/jobcomp.log
MpiDefault=pmix
SlurmdParameters=config_overrides
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
KillWait=5
MinJobAge=600
OverTimeLimit=0
SlurmctldTimeout=30
SlurmdTimeout=30
PropagateResourceLimitsExcept=MEMLOCK
$( [ "$GPUS" -gt 0 ] && echo GresTypes=gpu )
NodeName=$NL NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$PL CPUs=$CPUS Boards=1 SocketsPerBoard=1 CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$MEM$( [ "$GPUS" -gt 0 ] && echo " Gres=gpu:$GPUS" ) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=01:00:00 DefaultTime=00:05:00 State=UP
C
# The fake nodes share one host name and one /dev/shm, and Open MPI's vader names its segments by host name, job
# and local rank: without a folder per node, >= 2 tasks on each of >= 2 fake nodes crash in vader. Not in the batch
# step: mpirun would pass node 1's value on to every rank, where a rank should get its own orted's.
cat > "$LAB/taskprolog" <<'C'
#!/bin/sh
[ "$SLURM_STEP_ID" = 4294967291 ] || [ -z "$SLURM_STEP_ID" ] || echo "export OMPI_MCA_btl_vader_backing_directory=@LAB@/tmp.$SLURMD_NODENAME"
C
sed -i "s|@LAB@|$LAB|" "$LAB/taskprolog"; chmod 755 "$LAB/taskprolog"
# Any device file will do; SLURM takes the GPU's number from its name.
for gpu in $(seq 0 $((GPUS - 1))); do
    ln -s /dev/null "$LAB/gpu$gpu"
    echo "NodeName=$NL Name=gpu File=$LAB/gpu$gpu" >> "$LAB/gres.conf"
done
cat > "$LAB/env" <<C
export SLURM_CONF=$LAB/slurm.conf
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
C
export SLURM_CONF=$LAB/slurm.conf

# --- daemons
nice -n 5 slurmctld -f "$SLURM_CONF"
pid_files=("$LAB/slurmctld.pid")
for i in $(seq "$NODES"); do
    mkdir "$LAB/spool.n$i" "$LAB/tmp.n$i"
    chmod 1777 "$LAB/tmp.n$i"
    nice -n 5 slurmd -N "n$i" -f "$SLURM_CONF"
    pid_files+=("$LAB/slurmd.n$i.pid")
done
for file in "${pid_files[@]}"; do
    for _ in $(seq 150); do [ -s "$file" ] && break; sleep 0.2; done
    cat "$file" >> "$LAB/pids"
done
for _ in $(seq 300); do
    [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | wc -l)" = "$NODES" ] && { sinfo; exit 0; }
    sleep 0.2
done
echo "the nodes did not become idle in 60 s" >&2
sinfo -N -l >&2 || true
tail -n 5 "$LAB"/log/*.log >&2
exit 1
