#!/usr/bin/env bash
# What this program computes on a GPU, and how fast, beside plain PyTorch on the same card: at most 8 minutes once all is
# compiled, and one page in Markdown. `make gpu-check` calls it. What matters most comes first.
#   usage: launch/gpu-check.sh [REPORT]      REPORT: the page [default: target/gpu-check.md]
#          launch/gpu-check.sh --has-gpu     only whether there is a GPU
#
# Environment:
#   PDARTS=PROGRAM      [default: target/release/pdarts]
#   PDARTS_TESTS=DIR    folder with compiled test programs, named as in tests/ [default: built by cargo]
#   PDARTS_PEER=PYTHON  a Python with PyTorch for CUDA; none: no peers [default: .venv-peer/bin/python]
#   PDARTS_PARTS="numerics tests runs ranks speed profile"   what to do [default: all]
#   PDARTS_CHECK_SECONDS=480   when no more is begun, in seconds without compilation
# Exit code 3 where there is no GPU (of which make makes its own, 2), 1 where something is wrong.
# shellcheck disable=SC2317 # functions that run in other shells
set -uo pipefail
# A user's own packages take no part.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1
project=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/runs.bash
source "$project/launch/runs.bash"
pdarts=$(program_in "$project")
peer=${PDARTS_PEER:-$project/.venv-peer/bin/python}
report=${1:-$project/target/gpu-check.md}
parts=" ${PDARTS_PARTS:-numerics tests runs ranks speed profile} "
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0 left_out=0

[[ -e /proc/driver/nvidia/version ]] || { echo "gpu-check: no NVIDIA driver is loaded on this machine" >&2; exit 3; }
[[ $report != --has-gpu ]] || exit 0
if ! "$pdarts" doctor --require cuda >"$work/log" 2>&1; then
    echo "gpu-check: no GPU can be used: $(tail -n 1 "$work/log")" >&2
    exit 3
fi
mkdir -p "$(dirname "$report")"

page() { printf '%s\n' "$@" | tee -a "$report"; }
wants() { [[ $parts == *" $1 "* ]]; }
# Why the last command failed: its error, else its last line.
reason() { # EXIT_CODE SECONDS
    if (($1 == 124 || $1 == 137)); then
        echo "no end within $2 s"
    else
        { grep -E '^(error:|rank [0-9]+:)' "$work/log" || grep -vE '^[ -]*$' "$work/log"; } | tail -n 1 | tr '|' '/' | cut -c1-200
    fi
}
# When nothing is begun any more, and what runs is ended.
deadline=$((SECONDS + ${PDARTS_CHECK_SECONDS:-480}))
time_is_over() { ((SECONDS >= deadline)) && left_out=$((left_out + 1)); }
# Runs a command for at most so many seconds, and puts `| WHAT | ok, or why not | seconds |` on the page.
row() { # WHAT SECONDS COMMAND...
    local what=$1 limit=$2 start=$EPOCHREALTIME code outcome=ok
    shift 2
    if time_is_over; then
        page "| $what | not done: the time was over | |"
        return
    fi
    ((limit < deadline - SECONDS)) || limit=$((deadline - SECONDS))
    timeout -k 5 "$limit" "$@" >"$work/log" 2>&1
    code=$?
    if ((code)); then
        failures=$((failures + 1))
        outcome="FAILED ($code): $(reason "$code" "$limit")"
        echo "--- $what" && tail -n 40 "$work/log"
    fi >&2
    page "| $what | $outcome | $(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }') |"
}
# The value of KEY in a run's summary.
summary() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1] + "/summary.json"))[sys.argv[2]])' "$1" "$2"; }

: >"$report"
page "# GPU check" "" "$("$pdarts" --version), $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1), $(date -u +%F)" ""
"$pdarts" doctor >"$work/doctor" 2>&1
page '```' "$(cat "$work/doctor")" '```' ""
grep -q '^kernels *ok' "$work/doctor" ||
    page "**The program has no GPU kernels: what follows is of libtorch's operations.** \`make GPU=1 build\` compiles them." ""

page "| check | outcome | s |" "|---|---|---|"
if wants numerics; then
    row "numbers against the CPU in double precision" 90 "$pdarts" doctor --numerics --device cuda
    cp "$work/log" "$report.numerics"
fi

build_tests() { # TEST...
    [[ -z ${PDARTS_TESTS:-} ]] || return 0
    local start=$SECONDS
    cargo test --release --manifest-path "$project/Cargo.toml" --no-run "${@/#/--test=}" >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" && exit 1; } >&2
    deadline=$((deadline + SECONDS - start))
}
# Sets `program`, which takes a test program's arguments.
test_program() { # TEST
    if [[ -n ${PDARTS_TESTS:-} ]]; then
        program=("$PDARTS_TESTS/$1")
    else
        program=(cargo test --release --manifest-path "$project/Cargo.toml" --test "$1" --)
    fi
}

if wants tests; then
    tests=(pool mix separable branch_sum dropout windows parity precision checkpoint curvature)
    # The rows are of running them.
    build_tests "${tests[@]}"
    for test in "${tests[@]}"; do
        test_program "$test"
        # The emulation is of machines without a GPU.
        row "tests/$test on CUDA" 100 env PDARTS_TEST_DEVICE=cuda "${program[@]}" --skip gpu_kernels_pass_in_the_emulation
    done
fi

# A search of two short stages.
small=(search --config "$project/configs/search-quickstart.toml" --log warn --set run.device=cuda --set data.limit=640
    --set search.epochs=2 --set search.alpha_start_epoch=1 --set run.checkpoint_every_minutes=0)
same_weights() { [[ $(summary "$1" weights_hash) == "$(summary "$2" weights_hash)" && $(summary "$1" alphas_hash) == "$(summary "$2" alphas_hash)" ]]; }
stopped_and_resumed() {
    "$pdarts" "${small[@]}" --out "$work/stopped" &
    local run=$!
    while kill -0 "$run" 2>/dev/null && ! compgen -G "$work/stopped/checkpoints/*.safetensors" >/dev/null; do sleep 0.1; done
    kill -TERM "$run"
    wait "$run"
    [[ $(summary "$work/stopped" status) == stopped ]] || { echo "error: it ended before it could be stopped"; return 1; }
    "$pdarts" search --resume "$work/stopped" --log warn && same_weights "$work/first" "$work/stopped"
}
two_ranks() {
    # NCCL refuses one GPU for two ranks of one host, so each has its own.
    cat >"$work/rank.sh" <<RANK
#!/bin/sh
export NCCL_HOSTID=rank\${OMPI_COMM_WORLD_RANK:-\$PMI_RANK} NCCL_SOCKET_IFNAME=lo
exec "$pdarts" "\$@"
RANK
    chmod +x "$work/rank.sh"
    PDARTS=$work/rank.sh "$project/launch/mpirun.sh" -n 2 \
        "${small[@]}" --set search.epochs=1 --set search.alpha_start_epoch=0 --set parallel.communicator=nccl "$@"
}
export -f same_weights summary stopped_and_resumed two_ranks
export pdarts project work
if wants runs; then
    row "a search" 90 "$pdarts" "${small[@]}" --out "$work/first"
    row "the same search again" 90 "$pdarts" "${small[@]}" --out "$work/second"
    row "equal bit for bit" 5 bash -c "same_weights '$work/first' '$work/second'"
    row "without CUDA graphs" 120 "$pdarts" "${small[@]}" --set run.cuda_graphs=false --out "$work/eager"
    row "equal to those with" 5 bash -c "same_weights '$work/first' '$work/eager'"
    row "stopped, resumed, equal" 120 bash -c "small=($(printf '%q ' "${small[@]}")); stopped_and_resumed"
fi
if wants ranks; then
    build_tests ranks
    test_program ranks
    row "two, three and four ranks take the steps of one" 120 env PDARTS_TEST_DEVICE=cuda NCCL_SOCKET_IFNAME=lo "${program[@]}" \
        --exact equivalence::two_three_and_four_ranks_take_the_steps_of_one
    as_two_ranks="export PDARTS_RANKS_SHARE_GPUS=1; small=($(printf '%q ' "${small[@]}")); two_ranks"
    row "two ranks over NCCL on this GPU" 120 bash -c "$as_two_ranks --out '$work/ranks'"
    row "the same without CUDA graphs" 120 bash -c "$as_two_ranks --set run.cuda_graphs=false --out '$work/eager-ranks'"
    row "equal bit for bit" 5 bash -c "same_weights '$work/ranks' '$work/eager-ranks'"
fi

if wants speed; then
    page "" "| network, batch | variant | arch step, ms | weight step, ms | kernels replayed | images/s | GPU memory, MiB |" \
        "|---|---|---|---|---|---|---|"
    figures() { # NETWORK VARIANT COMMAND...
        local name=$1 variant=$2 limit=$((deadline - SECONDS))
        shift 2
        ((limit < 90)) || limit=90
        if time_is_over; then
            page "| $name | $variant | not done: the time was over | | | | |"
        elif timeout -k 5 "$limit" "$@" --json >"$work/json" 2>"$work/log"; then
            page "$(python3 - "$name" "$variant" "$work/json" <<'PYTHON'
import json, sys
name, variant, file = sys.argv[1:]
found = json.loads(open(file).read().strip().splitlines()[-1])
ms = lambda key: f"{1e3 * found[key]:.2f}" if key in found else "-"
weight = ms("weight_step_s") if "weight_step_s" in found else ms("step_s")
launches = [found[key] for key in ("arch_launches", "weight_launches", "launches") if found.get(key)]
launches = " + ".join(map(str, launches)) or "-"
print(f"| {name} | {variant} | {ms('arch_step_s')} | {weight} | {launches} | {found['images_per_second']:.0f} | {found.get('peak_gpu_mib', 0):.0f} |")
PYTHON
)"
        else
            page "| $name | $variant | FAILED: $(reason $? "$limit") | | | | |"
            failures=$((failures + 1))
        fi
    }
    with_peers() { # NAME PEER_SCRIPT "PEER VARIANTS" ARGUMENTS...
        local name=$1 script=$2 variants=$3
        shift 3
        [[ -x $peer || $(type -P "$peer") ]] || return 0
        for variant in $variants; do
            figures "$name" "PyTorch $variant" "$peer" "$project/benches/peers/$script" "$@" --device cuda --variant "$variant" --repeats 8
        done
    }
    for stage in 1 2 3; do
        arguments=(--stage "$stage" --global-batch 96)
        figures "stage $stage, 96" "pdarts" "$pdarts" bench supernet "${arguments[@]}" --device cuda --repeats 20
        ((stage > 1)) || for precision in tf32 bf16; do
            figures "stage $stage, 96" "pdarts $precision" "$pdarts" bench supernet "${arguments[@]}" --device cuda --repeats 20 --precision "$precision"
        done
        figures "stage $stage, 96" "pdarts, no graphs" "$pdarts" bench supernet "${arguments[@]}" --device cuda --repeats 5 --no-cuda-graphs
        with_peers "stage $stage, 96" supernet.py "eager graph" "${arguments[@]}"
    done
    figures "CIFAR, 128" "pdarts" "$pdarts" bench train-step --network cifar --global-batch 128 --device cuda --repeats 20
    figures "CIFAR, 128" "pdarts bf16" "$pdarts" bench train-step --network cifar --global-batch 128 --device cuda --repeats 20 --bf16
    with_peers "CIFAR, 128" network.py "eager channels_last,graph" --network cifar --global-batch 128
    figures "ImageNet, 128" "pdarts bf16" "$pdarts" bench train-step --network imagenet --global-batch 128 --device cuda --repeats 20 --bf16
    with_peers "ImageNet, 128" network.py "channels_last,bf16,graph" --network imagenet --global-batch 128
fi

if wants profile; then
    shown() { # TITLE COMMAND...
        time_is_over || page "" "$1" "" '```' "$(timeout -k 5 60 "${@:2}" 2>&1)" '```'
    }
    shown "What bounds everything else:" "$pdarts" bench machine --device cuda
    shown "Where the time of stage 1 goes:" "$pdarts" bench profile --stage 1 --global-batch 96 --device cuda
fi

page "" "$failures of these failed, $left_out were left out for want of time."
exit "$((failures > 0))"
