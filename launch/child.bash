# shellcheck shell=bash
# One child at a time that is waited for whatever signals come: a signal ends `wait`, not the child.
#
# `trap 'pass_on USR1' USR1` sends a signal on. After `run_child COMMAND...` the exit code is in `code`, the last signal that
# was passed on in `signal`.

child='' signal='' interrupted='' code=0

# To the child; a signal that comes before it has started waits for it.
pass_on() {
    signal=$1 interrupted=yes
    if [[ -n $child ]]; then kill "-$signal" "$child" 2>/dev/null || true; fi
}

run_child() {
    "$@" </dev/null &
    child=$!
    if [[ -n $signal ]]; then pass_on "$signal"; fi
    interrupted=yes
    while [[ -n $interrupted ]]; do
        interrupted='' code=0
        wait "$child" || code=$?
    done
    child=''
}
