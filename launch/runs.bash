# shellcheck shell=bash
# What a run directory says of its run.

# The first status of a summary is that of the whole.
is_complete() { [[ -e $1/summary.json ]] && grep -m1 '"status"' "$1/summary.json" | grep -q '"complete"'; }

is_begun() { [[ -e $1/config.toml || -e $1/seeds.json ]]; }
