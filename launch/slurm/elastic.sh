#!/usr/bin/env bash
# Submits search.sbatch, train.sbatch or imagenet.sbatch as a job that shrinks and grows: when a node is lost it goes on, from
# its last checkpoint, on those that are left, and on more once SLURM could give it more.
# `launch/slurm/elastic.sh --help` lists the options.
#
# A job of --nodes=MIN-MAX alone does not do this: when it has run once, SLURM keeps its number of tasks and asks for as many
# nodes again. So the job is submitted without that number, and the script tells srun.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: launch/slurm/elastic.sh --nodes=MAX [--min-ranks=N] [OPTIONS OF SBATCH] SCRIPT [ARGUMENTS OF PDARTS]

  launch/slurm/elastic.sh --nodes=4 launch/slurm/search.sbatch
  launch/slurm/elastic.sh --nodes=4 --min-ranks=8 --partition=gpu launch/slurm/train.sbatch --set run.seed=7

Options
  --nodes=MAX             nodes to run on, when there are as many
  --min-ranks=N           wait rather than go on with fewer ranks [default: those of one node]
  --ntasks-per-node=N     ranks on each node [default: what SCRIPT says]
  --dry-run               print the call of sbatch instead
All others go to sbatch and win over the lines of SCRIPT; each is one word, as in --time=8:00:00. The global batch must be
divisible by each number of ranks that can occur; `train.accumulate_steps` helps where the memory of fewer does not suffice.

Environment: that of SCRIPT, and
  PDARTS_ELASTIC_POLL     seconds between questions whether there are more nodes [default: 600]
TEXT
}

fail() { echo "launch/slurm/elastic.sh: $*" >&2; exit 2; }

# The value of an option in the #SBATCH lines of $1.
in_script() { sed -n "s/^#SBATCH --$2=\([^ ]*\).*/\1/p" "$1" | head -n 1; }

nodes='' min_ranks='' per_node='' cores='' dry_run='' options=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --dry-run) dry_run=yes ;;
        --nodes=*) nodes=${1#*=} ;;
        --min-ranks=*) min_ranks=${1#*=} ;;
        --ntasks-per-node=*) per_node=${1#*=} ;;
        --cpus-per-task=*) cores=${1#*=} options+=("$1") ;;
        --ntasks=* | --mincpus=*) fail "$1: give --ntasks-per-node and --cpus-per-task" ;;
        --*=* | --exclusive | --parsable | --hold) options+=("$1") ;;
        -*) fail "$1: give each option as one word, as in --time=8:00:00 (see --help)" ;;
        *) break ;;
    esac
    shift
done
(($#)) || fail "which script? For example: launch/slurm/elastic.sh --nodes=4 launch/slurm/search.sbatch"
script=$1
shift
[[ -r $script ]] || fail "there is no script $script"
[[ -e launch/slurm/job.bash ]] || fail "call it from the folder of the checkout"
per_node=${per_node:-$(in_script "$script" ntasks-per-node)}
cores=${cores:-$(in_script "$script" cpus-per-task)}
cores=${cores:-1}
is_number() { [[ $1 =~ ^[1-9][0-9]*$ ]]; }
is_number "$nodes" || fail "--nodes=${nodes:-?}: give the most nodes to run on"
is_number "$per_node" || fail "--ntasks-per-node=${per_node:-?}: give a number of ranks"
is_number "$cores" || fail "--cpus-per-task=$cores: give a number of cores"
min_ranks=${min_ranks:-$per_node}
is_number "$min_ranks" || fail "--min-ranks=$min_ranks: give a number of ranks"
min_nodes=$(((min_ranks + per_node - 1) / per_node))
((min_nodes <= nodes)) || fail "--min-ranks=$min_ranks: $nodes nodes have $((nodes * per_node)) ranks"

export PDARTS_NODES=$nodes PDARTS_RANKS_PER_NODE=$per_node PDARTS_SBATCH_OPTIONS="--mincpus=$((per_node * cores)) ${options[*]@Q}"
call=(sbatch "--nodes=$min_nodes-$nodes" "--mincpus=$((per_node * cores))" "${options[@]}")
if [[ -n $dry_run ]]; then
    echo "PDARTS_NODES=$nodes PDARTS_RANKS_PER_NODE=$per_node ${call[*]@Q} $script ${*@Q}"
    exit
fi
exec "${call[@]}" <(sed '/^#SBATCH --ntasks-per-node=/d' "$script") "$@"
