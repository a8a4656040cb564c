#!/usr/bin/env bash
# A whole reproduction in one folder: search a cell, train networks of it with several seeds, test them, and put the
# result beside the published ones. What is complete is not repeated, what was stopped goes on: call it again.
# `make reproduce-quickstart` runs it on the embedded images.
#
# Environment:
#   OUT=DIR            the folder (default runs/reproduce-quickstart): search/, train/, results.md
#   SEARCH_CONFIG, TRAIN_CONFIG=FILE   the two configurations (default: configs/*-quickstart.toml)
#   SEEDS=LIST         of the trainings (default 0,1,2)
#   SEARCH_FLAGS, TRAIN_FLAGS   further arguments of pdarts search and pdarts train, as --data DIR
#   PDARTS=FILE        the program (default target/release/pdarts)
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)

# shellcheck source=launch/runs.bash
source "$project/launch/runs.bash"
PDARTS=$(program_in "$project")
OUT=${OUT:-runs/reproduce-quickstart}
SEARCH_CONFIG=${SEARCH_CONFIG:-$project/configs/search-quickstart.toml}
TRAIN_CONFIG=${TRAIN_CONFIG:-$project/configs/train-quickstart.toml}
SEEDS=${SEEDS:-0,1,2}
read -ra search_flags <<<"${SEARCH_FLAGS:-}"
read -ra train_flags <<<"${TRAIN_FLAGS:-}"

say() { echo "reproduce: $*" >&2; }

# part NAME COMMAND ARGUMENT...: the run OUT/NAME, from wherever it stands.
part() {
    local root=$OUT/$1
    if is_complete "$root"; then
        say "$root is complete"
    elif is_begun "$root"; then
        say "$root goes on"
        "$PDARTS" "$2" --resume "$root"
    else
        "$PDARTS" "$2" --out "$root" "${@:3}"
    fi
}

[[ -x $PDARTS ]] || { say "no program $PDARTS: run make build, or set PDARTS"; exit 2; }
part search search --config "$SEARCH_CONFIG" "${search_flags[@]}"
part train train --config "$TRAIN_CONFIG" --genotype "$OUT/search" --seeds "$SEEDS" "${train_flags[@]}"
"$PDARTS" results "$OUT/search" "$OUT/train" --markdown "$OUT/results.md"
say "the same table is in $OUT/results.md"
