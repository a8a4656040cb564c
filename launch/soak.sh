#!/usr/bin/env bash
# The long versions of tests/durability and tests/hostile, most of an hour on two cores, and a summary of
# them at the end, also when something failed. `make soak` calls it.
#   usage: launch/soak.sh CARGO [OPTIONS OF CARGO TEST]
#
# Environment:
#   PDARTS_SOAK=SHARE       share of the long amounts [default: 1]
#   PDARTS_SOAK_SEED=N      what is drawn [default: 1]
#   PDARTS_SOAK_REPORT=FILE where the lines of the summary are gathered [default: target/soak.txt]
set -uo pipefail
cd "$(dirname "$0")/.." || exit

export PDARTS_SOAK=${PDARTS_SOAK:-1} PDARTS_SOAK_REPORT=${PDARTS_SOAK_REPORT:-${CARGO_TARGET_DIR:-$PWD/target}/soak.txt}
mkdir -p "$(dirname "$PDARTS_SOAK_REPORT")"
: >"$PDARTS_SOAK_REPORT"
cargo=$1
shift
start=$SECONDS

# Broken input needs one core; beside it the runs have the other, whose kills come at random moments anyway.
"$cargo" test "$@" --test durability --test hostile --no-run || exit
"$cargo" test "$@" --test hostile -- --nocapture --test-threads=1 &
hostile=$!
"$cargo" test "$@" --test durability -- --nocapture --test-threads=1
code=$?
wait "$hostile" || code=$?

# The number before WORDS, summed over all lines.
sum() { sed -n "s/.*[^0-9]\([0-9]*\) $1.*/\1/p" "$PDARTS_SOAK_REPORT" | awk '{ all += $1 } END { print all + 0 }'; }
echo
echo "soak, $(((SECONDS - start) / 60)) min, seed ${PDARTS_SOAK_SEED:-1}, $PDARTS_SOAK of the long amounts, exit code $code"
sort "$PDARTS_SOAK_REPORT" | sed 's/^/  /'
echo "  in all: $(sum 'kills survived') kills survived, $(sum 'steps compared') steps compared, $(sum 'executions') broken inputs tried"
exit "$code"
