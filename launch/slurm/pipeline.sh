#!/usr/bin/env bash
# Search, retraining on CIFAR and training on ImageNet as three SLURM jobs, of which each begins when the one before has
# succeeded. Each saves before its time limit, returns to the queue and goes on; when one fails, those after it are taken
# out of the queue. Called again, it submits what is not complete.
# `launch/slurm/pipeline.sh --help` lists the options. Nothing is submitted while an input is missing.
set -euo pipefail
me=launch/slurm/pipeline.sh
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=launch/pipeline.bash
source "$checkout/launch/pipeline.bash"

usage() {
    cat <<'TEXT'
usage: launch/slurm/pipeline.sh --imagenet DIR [OPTIONS]

  launch/slurm/pipeline.sh --imagenet /project/imagenet-shards --stage /tmp/imagenet --sbatch '--partition=gpu'

Options
TEXT
    shared_options
    cat <<'TEXT'
  --stage DIR             copy the shards to this folder on each node of the ImageNet job first
  --sbatch OPTIONS        sbatch's options for all jobs, in one word: '--partition=gpu --account=me'
  --search-sbatch, --train-sbatch, --imagenet-sbatch OPTIONS
                          for one of them; they win over those for all and over the lines of launch/slurm/*.sbatch
  --dry-run               check everything and print what would be submitted

Environment: PDARTS, PDARTS_LAUNCHER, PDARTS_MPI as in launch/slurm/*.sbatch
TEXT
}

stage='' dry_run=''
declare -A sbatch_of=([all]='' [search]='' [train]='' [imagenet]='')
while (($#)); do
    case $1 in
        -h | --help) usage; exit ;;
        --dry-run) dry_run=yes; shift; continue ;;
        # These values begin with a dash.
        --sbatch) (($# > 1)) || fail "$1 needs a value (see --help)"; sbatch_of[all]=$2 ;;
        --search-sbatch | --train-sbatch | --imagenet-sbatch)
            (($# > 1)) || fail "$1 needs a value (see --help)"
            part=${1#--}
            sbatch_of[${part%-sbatch}]=$2
            ;;
        --stage) take_value "${@:1:2}"; stage=$2 ;;
        *) take_option "${@:1:2}" ;;
    esac
    shift 2
done
command -v sbatch >/dev/null || fail "there is no sbatch here: call it on a login node of a SLURM cluster"
check_inputs
if [[ -n $stage && -z $(compgen -G "${data_of[imagenet]}/*.tar") ]]; then
    fail "--stage: there are no shards (*.tar) in ${data_of[imagenet]}: make some with 'pdarts data pack'"
fi

# job PART [OPTION...]: the call of sbatch, in `call`.
job() {
    local part=$1 all_options part_options
    read -ra all_options <<<"${sbatch_of[all]}"
    read -ra part_options <<<"${sbatch_of[$part]}"
    call=(env PDARTS="$program" PDARTS_CONFIG="${config_of[$part]}" PDARTS_DATA="${data_of[$part]}"
        PDARTS_RUN="$(run_of "$part")" PDARTS_GENOTYPE="$(genotype_file)" PDARTS_SEEDS= PDARTS_STAGE="$stage"
        sbatch --parsable --chdir="$checkout" --job-name="$name-$part" --output="$out/slurm-$part-%j.out"
        "${all_options[@]}" "${part_options[@]}" "${@:2}" "$checkout/launch/slurm/$part.sbatch")
}

waiting=()
for part in "${parts[@]}"; do
    is_complete "$(run_of "$part")" || waiting+=("$part")
done
# What SLURM refuses, it refuses before the first is submitted.
for part in "${waiting[@]}"; do
    job "$part" --test-only
    problem=$("${call[@]}" 2>&1) || fail "sbatch refuses the job $name-$part: $(tail -n 1 <<<"$problem")"
done

before='' submitted=()
for part in "${parts[@]}"; do
    if [[ " ${waiting[*]} " != *" $part "* ]]; then
        echo "$part: complete in $(run_of "$part")"
        continue
    fi
    options=()
    # Without the second, a job whose predecessor has failed would wait for ever.
    if [[ -n $before ]]; then options=("--dependency=afterok:$before" --kill-on-invalid-dep=yes); fi
    job "$part" "${options[@]}"
    if [[ -n $dry_run ]]; then
        echo "${call[@]@Q}"
        before="JOB-OF-${part^^}"
        continue
    fi
    if ! before=$("${call[@]}" 2>"$out/.sbatch"); then
        ((${#submitted[@]} == 0)) || scancel "${submitted[@]}"
        fail "sbatch refuses the job $name-$part, and none is left in the queue: $(tail -n 1 "$out/.sbatch")"
    fi
    before=${before%%;*} # behind a semicolon stands the cluster
    submitted+=("$before")
    echo "$part: job $before, run directory $(run_of "$part"), output $out/slurm-$part-$before.out"
done
rm -f "$out/.sbatch"
if ((${#submitted[@]})); then echo "look at them with: squeue --me; end all with: scancel ${submitted[*]}"; fi
say_results
