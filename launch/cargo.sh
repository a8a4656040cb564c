#!/usr/bin/env bash
# Runs cargo, as `make` does. When it fails, the last line says what to install or to do, where that can be told: cargo's
# own message is that of a build script, often pages above.
#   usage: launch/cargo.sh ARGUMENTS OF CARGO
set -uo pipefail

# Variables that are set to nothing would be taken for names of folders.
for name in LIBTORCH CARGO_TARGET_DIR RUSTFLAGS CC CXX MPICC MPI_PKG_CONFIG CRAY_MPICH_DIR; do
    [[ -n ${!name:-} ]] || unset "$name"
done

messages=$(mktemp) || exit 1
trap 'rm -f "$messages"' EXIT
if [[ -t 2 ]]; then
    # Cargo sees no terminal behind `tee`.
    export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-always} CARGO_TERM_PROGRESS_WHEN=${CARGO_TERM_PROGRESS_WHEN:-always}
    export CARGO_TERM_PROGRESS_WIDTH=${CARGO_TERM_PROGRESS_WIDTH:-$(tput cols 2>/dev/null || echo 80)}
fi
{ cargo "$@" 2>&1 1>&3 | tee "$messages" >&2; } 3>&1
code=$?
((code)) || exit 0

says() { grep -qaiE -e "$1" "$messages"; }
free_space() { df -Ph "${CARGO_TARGET_DIR:-.}" 2>/dev/null | awk 'NR == 2 { print $4 " are left in " $6 }'; }
# A test that fails says itself why.
! says '^error: (doc)?tests? failed|could not run test' || exit "$code"
# Specific before general: a full disk makes compilers fail in their own words.
if says 'no space left on device|disk quota exceeded'; then
    advice="the disk is full ($(free_space)): a build needs 3 GB in ${CARGO_TARGET_DIR:-target} and some in ${TMPDIR:-/tmp}"
elif says 'signal: 9|SIGKILL|Killed signal|out of memory|cannot allocate memory'; then
    advice="the machine ran out of memory: build with CARGO_BUILD_JOBS=1"
elif says 'no MPI library was found|mpi\.h cannot be used|mpi\.h: No such file'; then
    advice="MPI is missing: make setup, or apt-get install libopenmpi-dev openmpi-bin; on a cluster: module load openmpi (or mpich)"
elif says 'neither Open MPI nor MPICH|is not as its family'; then
    advice="this MPI library is not supported: name another's mpicc, as in MPICC=/opt/openmpi/bin/mpicc"
elif says 'Cannot find a libtorch install|did not report where libtorch is|torch/[a-z/]*\.h: No such file|cannot find -l(torch|c10)'; then
    advice="libtorch is missing: make setup installs it into .venv, LIBTORCH=DIR names another"
elif says 'this tch version expects PyTorch'; then
    advice="${LIBTORCH:-.venv/libtorch} is another version of libtorch: unset LIBTORCH and run make setup"
elif says 'is not supported by the following package|requires rustc|lock file version|feature .edition2024. is required'; then
    advice="Rust is too old: rustup update"
elif says 'is not installed for the toolchain|no such command: .(fmt|clippy)'; then
    advice="a part of Rust is missing: rustup component add rustfmt clippy"
elif says 'linker .[a-z+-]*. not found|failed to find tool|command not found.*(cc|c\+\+)|omp\.h: No such file|unrecognized command.line option .-std=c\+\+20'; then
    advice="a C++20 compiler with OpenMP is missing: apt-get install g++ (version 10 or newer)"
elif says 'certificate|SSL'; then
    advice="the network's certificate is not trusted: apt-get install ca-certificates, or name your proxy's in CARGO_HTTP_CAINFO"
elif says 'failed to download|could not resolve host|failed to get .* as a dependency|unable to update registry|network failure|spurious network error|connection (refused|reset|timed out)'; then
    advice="no network to download crates: run 'cargo fetch' where there is one (a login node) with the same CARGO_HOME, then build with CARGO_NET_OFFLINE=true"
elif says 'permission denied|read-only file system'; then
    advice="cargo may not write there: check who owns ${CARGO_TARGET_DIR:-target} and ${CARGO_HOME:-$HOME/.cargo}"
else
    exit "$code"
fi
echo "build: $advice" >&2
exit "$code"
