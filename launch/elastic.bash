# shellcheck shell=bash
# Starts a run again, from its last checkpoint, when a rank or a machine is lost: on the machines that still answer, on
# fewer ranks where the same number comes to nothing, and on all again when they are back.
#
# Before `run_elastic ARGUMENTS...`, which are those of pdarts, mpirun.sh sets hosts, per_node, min_ranks, and make_command,
# which makes `command` of them. The exit code is in `code`. What launch/runs.bash and launch/child.bash define is used.
# shellcheck disable=SC2154

say() { echo "launch/mpirun.sh: $*" >&2; }

# Of the machines in $1 (A,B,...), those that answer.
answering() {
    local host found=()
    for host in ${1//,/ }; do
        if ssh -o BatchMode=yes -o ConnectTimeout=5 "$host" true </dev/null >/dev/null 2>&1; then found+=("$host"); fi
    done
    local IFS=,
    echo "${found[*]}"
}

count() { wc -w <<<"${1//,/ }"; }

# Asks the ranks to save and end when a machine of $1 that $2 lacks answers again.
watch_for_return() {
    while sleep "${PDARTS_ELASTIC_POLL:-60}"; do
        if (($(count "$(answering "$1")") > $(count "$2"))); then
            kill -USR1 $$
            return
        fi
    done
}

run_elastic() {
    local all_hosts=$hosts all_per_node=$per_node fruitless=0 run='' argument before watcher ranks is_new=yes
    local -a arguments=("$@")
    for ((argument = 1; argument <= $#; argument++)); do
        case ${!argument} in
            --out | --resume)
                [[ ${!argument} == --resume ]] && is_new=''
                argument=$((argument + 1)) run=${!argument:-}
                ;;
            --out=*) run=${!argument#*=} ;;
            --resume=*) run=${!argument#*=} is_new='' ;;
        esac
    done
    [[ -n $run ]] || fail "--elastic has to know the run: name it with --out or --resume"
    while :; do
        if [[ -n $all_hosts ]]; then
            hosts=$(answering "$all_hosts")
        fi
        ranks=$per_node
        [[ -z $all_hosts ]] || ranks=$((per_node * $(count "$hosts")))
        if ((ranks < min_ranks)); then
            say "$ranks ranks are left, --min-ranks asks for $min_ranks: waiting for machines"
            sleep "${PDARTS_ELASTIC_POLL:-60}"
            [[ -z $signal ]] || return 0
            continue
        fi
        make_command "${arguments[@]}"
        before=$(progress_of "$run") watcher='' signal=''
        if [[ $hosts != "$all_hosts" ]]; then
            watch_for_return "$all_hosts" "$hosts" &
            watcher=$!
        fi
        run_child setsid "${command[@]}"
        if [[ -n $watcher ]]; then
            # One that has found a machine is about to end.
            if [[ $code == 138 ]]; then
                for _ in {1..50}; do
                    kill -0 "$watcher" 2>/dev/null || break
                    sleep 0.02
                done
            fi
            # The watcher has ended by itself: a machine is back.
            if ! kill "$watcher" 2>/dev/null && [[ $code == 138 ]]; then
                say "a machine is back: the run goes on with it"
                per_node=$all_per_node
                go_on_with "$run"
                continue
            fi
            wait "$watcher" 2>/dev/null || true
        fi
        if [[ -n $signal || $code == 0 ]]; then return 0; fi
        if ((code == 2)) && { [[ $is_new == yes ]] && ! is_begun "$run" || ((per_node == all_per_node)); }; then return 0; fi
        go_on_with "$run"
        if [[ $(progress_of "$run") != "$before" ]]; then
            fruitless=0
        else
            fruitless=$((fruitless + 1))
            if ((fruitless > 1 || code == 2)) && ((ranks - ranks / per_node >= min_ranks && per_node > 1)); then
                per_node=$((per_node - 1)) fruitless=0
            elif ((fruitless >= max_fruitless)); then
                say "$fruitless starts in a row came to no new checkpoint: giving up"
                return 0
            fi
        fi
        say "the run was lost (exit code $code): starting again from its last checkpoint, $per_node rank(s) on each machine"
    done
}
