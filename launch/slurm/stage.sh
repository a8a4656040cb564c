#!/usr/bin/env bash
# Copies a folder of shards (of `pdarts data pack`, or of others) to a disk of this node; imagenet.sbatch calls it once on
# each of its nodes.
#   usage: launch/slurm/stage.sh FROM TO
# Files that are there already, of the same size and time, are not copied again, so that a job that runs again begins at
# once. Of two jobs that copy to one folder the second waits for the first. Exit code 2: it cannot work as given.
set -euo pipefail

fail() { echo "launch/slurm/stage.sh: $(hostname -s): $*" >&2; exit 2; }

(($# == 2)) || fail "give the folder of shards and the folder to copy it to"
from=$1 to=$2
[[ -d $from ]] || fail "there is no folder $from"
shopt -s nullglob
tars=("$from"/*.tar)
((${#tars[@]})) || fail "there are no shards (*.tar) in $from: make some with 'pdarts data pack --from $from --to DIR'"
if ! mkdir -p "$to" 2>/dev/null || [[ ! -w $to ]]; then fail "cannot write to $to"; fi
[[ ! $from -ef $to ]] || fail "$to is the folder to copy from: give one on a disk of the node"

exec 9>"$to/.lock"
flock 9

# Of a link what counts is the file behind it, which is what is copied.
is_there() { [[ -f $2 && $(stat -Lc '%s %Y' "$1") == "$(stat -Lc '%s %Y' "$2")" ]]; }

missing=() bytes=0
for file in "$from"/*; do
    [[ -f $file ]] || continue
    if ! is_there "$file" "$to/${file##*/}"; then
        missing+=("$file")
        ((bytes += $(stat -Lc %s "$file"))) || true
    fi
done
((${#missing[@]})) || exit 0
available=$(df --output=avail --block-size=1 "$to" | tail -n 1)
((bytes < available)) || fail "$to has $((available >> 20)) MiB left, and $((bytes >> 20)) MiB of $from are to come"
echo "$(hostname -s): copying ${#missing[@]} files, $((bytes >> 20)) MiB, to $to"
for file in "${missing[@]}"; do
    # A copy that is cut short has another name.
    cp --preserve=timestamps "$file" "$to/.part"
    mv "$to/.part" "$to/${file##*/}"
done
