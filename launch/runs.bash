# shellcheck shell=bash
# Where the program of a checkout is, and what a run directory says of its run.

# The program that PDARTS names, else the one that was built in the checkout $1.
program_in() { echo "${PDARTS:-${CARGO_TARGET_DIR:-$1/target}/release/pdarts}"; }

# The first status of a summary is that of the whole.
is_complete() { [[ -e $1/summary.json ]] && grep -m1 '"status"' "$1/summary.json" | grep -q '"complete"'; }

is_begun() { [[ -e $1/config.toml || -e $1/seeds.json || -e $1/experiment.json ]]; }

# Starts in a row that may save nothing new, after which a run is given up.
max_fruitless=3

# What a run has saved, to see whether there is more: checkpoints, and the cells of a search that trains single ones.
progress_of() {
    {
        find "$1" -path '*/checkpoints/stage*.safetensors' -printf '%P %T@\n'
        find "$1" -name metrics.jsonl -exec grep -Hc '"kind":"cell"' {} +
    } 2>/dev/null | sort || true
}

# Makes of `arguments`, those of pdarts, what goes on with the run $1 if it has begun: they lose what a run is begun with.
go_on_with() {
    local run=$1
    is_begun "$run" || return 0
    set -- "${arguments[@]}"
    arguments=("$1" --resume "$run")
    shift
    while (($#)); do
        case $1 in
            --config | --out | --resume | --genotype | --from | --seeds) (($# > 1)) && shift ;;
            --config=* | --out=* | --resume=* | --genotype=* | --from=* | --seeds=*) ;;
            # What holds several runs goes on as it was planned.
            --set) if [[ ! -e $run/config.toml ]]; then (($# > 1)) && shift; else arguments+=("$1"); fi ;;
            --set=*) [[ ! -e $run/config.toml ]] || arguments+=("$1") ;;
            *) arguments+=("$1") ;;
        esac
        shift
    done
}
