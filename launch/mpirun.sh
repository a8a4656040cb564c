#!/usr/bin/env bash
# Runs pdarts on several ranks by mpirun: on the GPUs of this machine, on several machines, or in a job's allocation.
# `launch/mpirun.sh --help` lists the options; everything from the first word that is no option on goes to pdarts.
#
# Ctrl-C saves: mpirun itself would leave the ranks a second, so this script asks them by SIGUSR1 to write a checkpoint
# and end (exit code 138; go on with --resume). A second Ctrl-C ends them at once. SIGTERM does the same, SIGHUP (a lost
# terminal) saves, SIGUSR2 is passed on.
set -euo pipefail

usage() {
    cat <<'EOF'
usage: launch/mpirun.sh [OPTIONS] COMMAND [ARGUMENTS]

  launch/mpirun.sh search --config configs/search-cifar10.toml --out runs/first     a rank for each GPU here
  launch/mpirun.sh -n 4 doctor                                                      four ranks here
  launch/mpirun.sh --hosts node1,node2 -n 8 search --resume runs/first              eight ranks on each of two machines

Options
  -n, --per-node N     ranks on each machine [default: its GPUs; 1 without any; in a SLURM job: its tasks]
  --hosts A,B,...      the machines, reached by ssh without a password, with the program at the same path on a file
                       system that all share [default: this one; in a SLURM job: its nodes]
  --bind none|cores    cores: each rank on its own equal share of the cores, in order; none: the operating system
                       decides, which is right where other jobs use the machine too [default: none]
  --interface NAME     network interface between the machines, as `ip link` lists it, if a wrong one is chosen
  --elastic            start the run again from its last checkpoint when a rank or a machine is lost: on the machines that
                       answer, on fewer ranks where the same number comes to nothing, on all when they are back; needs
                       --out or --resume behind the command
  --min-ranks N        with --elastic, wait for machines rather than go on with fewer ranks [default: 1]
  --dry-run            print the command instead of running it

Environment
  PDARTS               the program [default: target/release/pdarts of this checkout]
  MPIRUN               the launcher: Open MPI's mpirun or MPICH's mpiexec, of the MPI that pdarts was built with
                       [default: mpirun, else mpiexec]
  OMPI_ALLOW_RUN_AS_ROOT, OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
                       Open MPI's mpirun refuses root, the usual user in a container, unless both are 1. This script
                       sets them as root; without it, set them yourself.
EOF
}

fail() { echo "launch/mpirun.sh: $*" >&2; exit 2; }

per_node='' hosts='' bind=none interface='' dry_run='' elastic='' min_ranks=1
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --dry-run) dry_run=yes; shift; continue ;;
        --elastic) elastic=yes; shift; continue ;;
        -n | --per-node | --hosts | --bind | --interface | --min-ranks) ;;
        -*) fail "unknown option $1 (see --help; options of pdarts stand behind its command)" ;;
        *) break ;;
    esac
    if (($# < 2)) || [[ -z $2 || $2 == -* ]]; then fail "$1 needs a value (see --help)"; fi
    case $1 in
        -n | --per-node) per_node=$2 ;;
        --hosts) hosts=$2 ;;
        --bind) bind=$2 ;;
        --interface) interface=$2 ;;
        --min-ranks) min_ranks=$2 ;;
    esac
    shift 2
done
(($#)) || fail "what shall pdarts do? For example: launch/mpirun.sh -n 2 doctor"
[[ -z $per_node || $per_node =~ ^[1-9][0-9]*$ ]] || fail "--per-node $per_node: give a number of ranks"
[[ $min_ranks =~ ^[1-9][0-9]*$ ]] || fail "--min-ranks $min_ranks: give a number of ranks"
[[ $bind == none || $bind == cores ]] || fail "--bind $bind: give none or cores"

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/runs.bash
source "$checkout/launch/runs.bash"
pdarts=$(program_in "$checkout")
[[ -x $pdarts ]] || fail "there is no program $pdarts: run 'make build', or set PDARTS"
launcher=${MPIRUN:-$(command -v mpirun || command -v mpiexec)} || fail "there is no mpirun on the PATH: run 'make setup'"

num_gpus() {
    if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
        # As CUDA counts: up to the first entry that names no GPU, as in -1, NoDevFiles or nothing at all.
        tr ',' '\n' <<<"${CUDA_VISIBLE_DEVICES// /}" | sed -E '/^([0-9]+|GPU-.+|MIG-.+)$/!Q' | grep -c . || true
    else
        { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU' || true
    fi
}

# Cores, not hardware threads, that this process may use.
num_cores() { lscpu --parse=CORE,CPU | grep -v '^#' | sort -ut, -k1,1 | wc -l; }

# In a job the allocation says how many ranks run where.
if [[ -z $per_node && (-n $hosts || -z ${SLURM_JOB_ID:-}) ]]; then
    per_node=$(num_gpus)
    ((per_node)) || per_node=1
fi

share_of_cores() {
    local ranks=${per_node:-${SLURM_NTASKS_PER_NODE:-1}} cores
    cores=$(num_cores)
    ((cores >= ranks)) || fail "--bind cores: $ranks ranks on $cores cores; use --bind none"
    echo "${SLURM_CPUS_PER_TASK:-$((cores / ranks))}"
}

# The variables that ranks on other machines need as well. CUDA_VISIBLE_DEVICES is each machine's own.
forwarded_variables() { compgen -e | grep -E '^(NCCL_|UCX_|RUST_|PDARTS_|GOMP_|OMP_|LD_LIBRARY_PATH$)' || true; }

open_mpi_command() {
    local placement=slot name
    command=("$launcher")
    if [[ -n $hosts ]]; then
        # Without a number, Open MPI takes each machine to have room for one rank.
        command+=(--host "${hosts//,/:$per_node,}:$per_node")
    elif [[ -z ${SLURM_JOB_ID:-} ]] && ((per_node > $(num_cores))); then
        command+=(--oversubscribe)
    fi
    if [[ -n $per_node ]]; then placement=ppr:$per_node:node; fi
    case $bind in
        none) command+=(--map-by "$placement" --bind-to none) ;;
        cores) command+=(--map-by "$placement:PE=$(share_of_cores)" --bind-to core) ;;
    esac
    if [[ -n $interface ]]; then
        command+=(--mca btl_tcp_if_include "$interface" --mca oob_tcp_if_include "$interface")
    fi
    for name in $(forwarded_variables); do command+=(-x "$name"); done
    # Open MPI refuses root, which in a container is the usual user.
    if ((EUID == 0)); then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
}

# MPICH and those derived from it (Intel MPI, MVAPICH). They forward the whole environment.
mpich_command() {
    local num_hosts=1 comma_free=${hosts//,/}
    command=("$launcher")
    if [[ -n $hosts ]]; then
        num_hosts=$((${#hosts} - ${#comma_free} + 1))
        command+=(-hosts "$hosts")
    elif [[ -n ${SLURM_JOB_ID:-} ]]; then
        num_hosts=$SLURM_JOB_NUM_NODES
    fi
    if [[ -n $per_node ]]; then
        command+=(-n "$((num_hosts * per_node))" -ppn "$per_node")
    else
        command+=(-n "$SLURM_NTASKS")
    fi
    case $bind in
        none) command+=(-bind-to none) ;;
        cores) command+=(-bind-to "core:$(share_of_cores)") ;;
    esac
    if [[ -n $interface ]]; then command+=(-iface "$interface"); fi
}

if [[ -n $interface ]]; then export NCCL_SOCKET_IFNAME=$interface; fi
version=$("$launcher" --version 2>&1) || true
make_command() {
    case $version in
        *"Open MPI"* | *OpenRTE* | *PRRTE*) open_mpi_command ;;
        *HYDRA* | *MPICH* | *"Intel(R) MPI"* | *MVAPICH*) mpich_command ;;
        *) fail "$launcher is neither Open MPI's nor MPICH's launcher: set MPIRUN" ;;
    esac
    command+=("$pdarts" "$@")
}
make_command "$@"
if [[ -n $dry_run ]]; then
    echo "${command[@]@Q}"
    exit
fi

# shellcheck source=launch/child.bash
source "$checkout/launch/child.bash"
trap 'pass_on USR1' USR1 HUP
trap 'pass_on USR2' USR2
trap 'pass_on USR1; trap "pass_on TERM" INT TERM' INT TERM
# In a session of its own, for the terminal would send Ctrl-C to mpirun as well.
if [[ -z $elastic ]]; then
    run_child setsid "${command[@]}"
else
    [[ -n $per_node ]] || fail "--elastic in a SLURM job: let SLURM requeue the job, with --nodes=MIN-MAX to go on on fewer nodes"
    # shellcheck source=launch/elastic.bash
    source "$checkout/launch/elastic.bash"
    run_elastic "$@"
fi
exit "$code"
