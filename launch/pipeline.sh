#!/usr/bin/env bash
# Search, retraining on CIFAR and training on ImageNet, one after the other on this machine: the way of
# launch/slurm/pipeline.sh without SLURM. What is complete is not repeated, what was stopped goes on: call it again.
# `launch/pipeline.sh --help` lists the options.
set -euo pipefail
me=launch/pipeline.sh
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/pipeline.bash
source "$checkout/launch/pipeline.bash"
# shellcheck source=launch/child.bash
source "$checkout/launch/child.bash"

usage() {
    cat <<'TEXT'
usage: launch/pipeline.sh --imagenet DIR [OPTIONS]

  launch/pipeline.sh --imagenet /scratch/imagenet-shards --cifar ~/data

Options
TEXT
    shared_options
    cat <<'TEXT'
  -n, --ranks N           ranks [default: a rank for each GPU; 1 without any]

Ctrl-C and SIGTERM save the part under way and end the pipeline; the same call goes on.

Environment: PDARTS, MPIRUN as in launch/mpirun.sh
TEXT
}

ranks=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        -n | --ranks)
            take_value "${@:1:2}"
            [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "--ranks $2: give a number of ranks"
            ranks=(-n "$2")
            ;;
        *) take_option "${@:1:2}" ;;
    esac
    shift 2
done
check_inputs
export PDARTS=$program

trap 'pass_on TERM' TERM INT
trap 'pass_on USR1' USR1 HUP
for part in "${parts[@]}"; do
    run=$(run_of "$part") command=${command_of[$part]}
    if is_complete "$run"; then
        echo "$me: $run is complete"
        continue
    fi
    arguments=("$command" --data "${data_of[$part]}")
    if is_begun "$run"; then
        echo "$me: $run goes on"
        arguments+=(--resume "$run")
    else
        echo "$me: $run begins"
        arguments+=(--config "${config_of[$part]}" --out "$run")
        [[ $part == search ]] || arguments+=(--genotype "$(genotype_file)")
    fi
    run_child "$checkout/launch/mpirun.sh" "${ranks[@]}" "${arguments[@]}"
    if ((code)); then
        echo "$me: $part ended with exit code $code; the same call goes on" >&2
        exit "$code"
    fi
done
"$program" results "$(run_of search)" "$(run_of train)" "$(run_of imagenet)" --markdown "$out/results.md"
