#!/usr/bin/env bash
# The whole way of an ImageNet training on a small tree: pack, check, train on two ranks, kill, resume, evaluate. Fails
# where a step does, or where the network does not tell the classes apart better than by chance. `make imagenet-smoke`
# runs it.
#
# Environment:
#   OUT=DIR            where it works (default: a temporary folder, removed at the end); must not exist
#   TRAIN, VAL=N       training and validation images of each of ten classes (default 200 and 40)
#   EPOCHS=N           of the training (default 2)
#   MINIMUM=P          accuracy in percent that must be reached (default 15; chance is 10)
#   TRAIN_FLAGS        further arguments of pdarts train
#   PDARTS, IMAGE_TREE=FILE   the program and the example that writes the tree (default: those of target/release)
#   MPIRUN             the launcher, as in launch/mpirun.sh
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
built=${CARGO_TARGET_DIR:-$project/target}/release

# shellcheck source=launch/runs.bash
source "$project/launch/runs.bash"
PDARTS=$(program_in "$project")
export PDARTS
IMAGE_TREE=${IMAGE_TREE:-$built/examples/image_tree}
EPOCHS=${EPOCHS:-2}
MINIMUM=${MINIMUM:-15}
read -ra flags <<<"${TRAIN_FLAGS:-}"

say() { echo "imagenet-smoke: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

for program in "$PDARTS" "$IMAGE_TREE"; do
    [[ -x $program ]] || fail "no program $program: run make imagenet-smoke"
done
if [[ -n ${OUT:-} ]]; then
    mkdir "$OUT"
else
    OUT=$(mktemp -d)
    trap 'rm -rf "$OUT"' EXIT
fi
run=$OUT/run

steps() { grep -c '"kind":"steps"' "$run/metrics.jsonl" 2>/dev/null || true; }

train() { "$project/launch/mpirun.sh" -n 2 train "$@"; }

say "a tree of images in ten classes"
"$IMAGE_TREE" "$OUT/tree" "${TRAIN:-200}" "${VAL:-40}"
say "pack and check"
"$PDARTS" data pack --from "$OUT/tree" --to "$OUT/shards"
"$PDARTS" data check "$OUT/shards"

say "train on two ranks"
train --config "$project/configs/train-imagenet-smoke.toml" --genotype PDARTS_C10 --data "$OUT/shards" --out "$run" \
    --set train.epochs="$EPOCHS" "${flags[@]}" &
training=$!
until [[ -n $(compgen -G "$run/checkpoints/*" || true) && $(steps) -gt 0 ]]; do
    kill -0 "$training" 2>/dev/null || fail "the training ended before its first checkpoint"
    sleep 0.2
done
say "kill after $(steps) records and resume"
pids=$(sed -n 's/.*"process": *\([0-9]*\).*/\1/p' "$run"/heartbeats/*.json)
# shellcheck disable=SC2086 # one word for each rank
kill -KILL $pids
wait "$training" && fail "the killed training ended as if nothing had been"
[[ ! -e $run/weights.safetensors ]] || fail "the training was complete before it could be killed"
train --resume "$run"

say "evaluate"
scores=$("$PDARTS" eval --checkpoint "$run" --json)
top1=$(sed -n 's/.*"top1": *\([0-9.]*\).*/\1/p' <<<"$scores")
awk -v top1="$top1" -v minimum="$MINIMUM" 'BEGIN { exit !(top1 != "" && top1 >= minimum) }' ||
    fail "top-1 accuracy of ${top1:-nothing} % is below $MINIMUM %"
say "top-1 accuracy $top1 % (chance: 10 %)"
