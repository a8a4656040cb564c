# shellcheck shell=bash
# What search.sbatch, train.sbatch and imagenet.sbatch do once their settings are made: begin the run or go on with it, on
# all tasks of the job, pass SLURM's signal on, and return to the queue after it.
#
# They set: script (their own name), command, config, data, run, what (arguments of a new run), program, launcher, mpi and,
# to copy the data to the nodes first, stage; "$@" is the user's. elastic.sh sets PDARTS_NODES (the most the job may have),
# PDARTS_RANKS_PER_NODE and PDARTS_SBATCH_OPTIONS.
# shellcheck disable=SC2154

set -uo pipefail
# Each task of an array (sbatch --array=0-3) has a run directory of its own, and its number for %a in its arguments.
job=$SLURM_JOB_ID
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
    # The number of one of its tasks is that of the whole array.
    job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    run=$run-$SLURM_ARRAY_TASK_ID
    set -- "${@//%a/$SLURM_ARRAY_TASK_ID}"
fi
echo "job $job, start $((${SLURM_RESTART_COUNT:-0} + 1)), on $SLURM_JOB_NODELIST, run directory $run"

case $launcher in
    srun)
        # Every rank sees all GPUs of its node and takes its own: bound to one, they could not copy to each other.
        launch=(srun "--mpi=$mpi" --kill-on-bad-exit=1 --gpu-bind=none)
        # srun does not take this over from the job.
        [[ -z ${SLURM_CPUS_PER_TASK:-} ]] || launch+=("--cpus-per-task=$SLURM_CPUS_PER_TASK")
        if [[ -n ${PDARTS_RANKS_PER_NODE:-} ]]; then
            launch+=("--ntasks=$((SLURM_JOB_NUM_NODES * PDARTS_RANKS_PER_NODE))" "--ntasks-per-node=$PDARTS_RANKS_PER_NODE")
        fi
        launch+=("$program")
        ;;
    mpirun)
        export PDARTS=$program
        launch=(launch/mpirun.sh ${PDARTS_RANKS_PER_NODE:+-n "$PDARTS_RANKS_PER_NODE"})
        ;;
    *)
        echo "PDARTS_LAUNCHER=$launcher: give srun or mpirun" >&2
        exit 2
        ;;
esac

back_to_the_queue() {
    echo "$1: back to the queue"
    scontrol requeue "$job" ||
        echo "the job cannot be requeued; go on with: PDARTS_RUN=$run sbatch launch/slurm/$script.sbatch" >&2
}

# shellcheck source=launch/runs.bash
source launch/runs.bash
# SLURM sends SIGUSR1 to this script alone.
# shellcheck source=launch/child.bash
source launch/child.bash
trap 'echo "SIGUSR1: the ranks are asked to save and end"; pass_on USR1' USR1

# Once on each node; what is there from an earlier start is not copied again.
if [[ -n ${stage:-} ]]; then
    run_child srun --mpi=none --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
        launch/slurm/stage.sh "$data" "$stage"
    if [[ -n $signal ]]; then
        back_to_the_queue "stopped while images were copied"
        exit 138
    fi
    ((code == 0)) || exit "$code"
    data=$stage
fi

arguments=("$command" --data "$data" "$@")
if ! is_begun "$run"; then
    arguments+=(--config "$config" "${what[@]}" --out "$run")
else
    go_on_with "$run"
    # A new job compares: a run of the same name under another configuration is refused. One that returns takes the
    # configuration that the run was started with, whatever has become of the file since.
    ((${SLURM_RESTART_COUNT:-0})) || [[ ! -e $run/config.toml ]] || arguments+=(--config "$config")
fi

# Whether a job of one node with this one's options could begin now, by what SLURM says.
is_a_node_free() {
    local answer start
    # The script that SLURM runs has the #SBATCH lines of its own.
    answer=$(eval "sbatch --test-only --nodes=1 ${PDARTS_SBATCH_OPTIONS:-} \"\$0\"" 2>&1) || return 1
    start=$(sed -n 's/.* to start at \([^ ]*\) using .*/\1/p' <<<"$answer")
    [[ -n $start ]] && (($(date -d "$start" +%s) <= $(date +%s) + 30))
}

watch_for_nodes() {
    while sleep "${PDARTS_ELASTIC_POLL:-600}"; do
        if is_a_node_free; then
            echo "a node is free: the job asks for more than $SLURM_JOB_NUM_NODES"
            kill -USR1 $$
            return
        fi
    done
}

fruitless=0
while :; do
    before=$(progress_of "$run") watcher=''
    if ((SLURM_JOB_NUM_NODES < ${PDARTS_NODES:-0})); then
        watch_for_nodes &
        watcher=$!
    fi
    run_child "${launch[@]}" "${arguments[@]}"
    [[ -z $watcher ]] || kill "$watcher" 2>/dev/null
    # Only an elastic job goes on by itself when a rank is lost, as long as that leads to new checkpoints.
    if [[ -z ${PDARTS_NODES:-} || -n $signal || ! -e $run ]] || ((code == 0 || code == 2)); then break; fi
    if [[ $(progress_of "$run") != "$before" ]]; then
        fruitless=0
    elif ((++fruitless >= max_fruitless)); then
        echo "$fruitless starts in a row came to no new checkpoint: giving up" >&2
        break
    fi
    echo "the run was lost (exit code $code): starting again from its last checkpoint"
    go_on_with "$run"
done

# 138 = 128 + SIGUSR1: stopped by it, and saved.
if [[ -n $signal && $code == 138 ]]; then
    back_to_the_queue "stopped and saved"
fi
exit "$code"
