#!/usr/bin/env bash
# Installs what the project needs and is not there yet: a C++ compiler, MPI, Python with venv, libtorch in .venv.
# `make setup` runs it; it costs nothing when all is in place. `launch/setup.sh peer` makes .venv-peer
# instead, the complete PyTorch that the benchmarks compare with.
#
# Environment:
#   LIBTORCH=DIR   use this libtorch and install none
#   GPU=1          install the complete libtorch without an NVIDIA driver too (a cluster's login node)
#   PYTHON=NAME    the Python that makes the virtual environments (default python3)
set -euo pipefail
cd "$(dirname "$0")/.."

# A user's own packages take no part.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1

TORCH_VERSION=2.13.0
MDBOOK_VERSION=0.5.1
PYTHON=${PYTHON:-python3}

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }
# Daemons are where the PATH of a user who is not root may not lead.
have() { PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; }
have_venv() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }


# What works decides, not what is on the PATH: mpicc comes without mpi.h, a compiler without C++20 or OpenMP.
accepts() { "$@" -E - >/dev/null 2>&1; }
have_cxx() {
    local compiler # perhaps behind ccache
    read -ra compiler <<<"${CXX:-c++}"
    have cc && accepts "${compiler[@]}" -x c++ -std=c++20 -fopenmp <<<$'#include <vector>\n#include <omp.h>'
}

# As the build looks for it (the crate build-probe-mpi).
have_mpi_header() {
    local flags folder
    [[ -z ${MPI_PKG_CONFIG:-}${CRAY_MPICH_DIR:-} ]] || return 0
    flags=$({ "${MPICC:-mpicc}" -show || pkg-config --cflags mpich || pkg-config --cflags ompi; } 2>/dev/null) || return
    if have cc && have "${MPICC:-mpicc}"; then
        accepts "${MPICC:-mpicc}" -x c <<<'#include <mpi.h>'
    else
        for folder in $(grep -oE -e '-I[^ ]+' <<<"$flags") -I/usr/include; do
            [[ ! -e ${folder#-I}/mpi.h ]] || return 0
        done
        return 1
    fi
}

# Any MPI-3 library serves, but header and launcher must be of one family: processes that the other's mpirun starts do
# not find each other. So what is missing is that of the one that is there. srun can be the launcher as well.
missing_mpi() {
    local packages=(libopenmpi-dev openmpi-bin)
    case $({ mpirun --version || mpiexec --version || "${MPICC:-mpicc}" -show; } 2>&1) in
        *HYDRA* | *MPICH* | *mpich* | *"Intel(R) MPI"*) packages=(libmpich-dev mpich) ;;
    esac
    have_mpi_header || echo "${packages[0]}"
    have mpirun || have mpiexec || have srun || echo "${packages[1]}"
}

# What `install_packages c++ mpi venv` finds missing, as Debian packages, one a line.
missing_packages() {
    local need
    for need; do
        case $need in
            c++) have_cxx || echo g++ ;;
            mpi) missing_mpi ;;
            # For the tests of the scripts in launch/slurm.
            slurm)
                have slurmctld && have slurmd || echo slurm-wlm
                have munged || echo munge
                ;;
            shellcheck) have shellcheck || echo shellcheck ;;
            # For the tests that signal ranks.
            procps) have pkill || echo procps ;;
            # For the tests that look at pages.
            chromium) have chromium || have chromium-browser || have google-chrome || have chrome || echo chromium ;;
            venv) have_venv || echo python3-venv ;;
        esac
    done
}

install_packages() {
    local packages
    mapfile -t packages < <(missing_packages "$@")
    ((${#packages[@]})) || return 0
    have apt-get || fail "missing: ${packages[*]} (Debian's names); install them with this system's package manager"
    ((EUID == 0)) || fail "missing: ${packages[*]}; run: sudo apt-get install ${packages[*]}"
    say "installing system packages: ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # What an installation that was interrupted has left half done.
    dpkg --configure -a || fail "dpkg --configure -a failed (its message is above)"
    apt-get update -qq || fail "apt-get update failed (its message is above): is there a network?"
    apt-get install -y -qq -o DPkg::Lock::Timeout=300 --no-install-recommends "${packages[@]}" ||
        fail "apt-get could not install ${packages[*]} (its message is above)"
    mapfile -t packages < <(missing_packages "$@")
    ((${#packages[@]} == 0)) ||
        fail "${packages[*]} is installed but not what the PATH finds: check cc, c++, mpicc and $PYTHON"
}

check_rust() {
    local needed found
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have cargo || fail "no cargo on the PATH: install Rust $needed or newer with rustup (https://rustup.rs)"
    found=$(cargo --version | cut -d' ' -f2)
    printf '%s\n' "$needed" "$found" | sort -VC || fail "Rust $found is too old: $needed or newer is needed (rustup update)"
}

# install_environment DIR CONTENT GIGABYTES PIP_ARGUMENT...
# DIR/.complete says what DIR holds and is written last: an interrupted install starts afresh.
install_environment() {
    local dir=$1 content=$2 gigabytes=$3 free
    shift 3
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1e6) }')
    ((free >= gigabytes)) || fail "$dir and what pip needs on the way take $gigabytes GB, the disk of $PWD has $free GB left"
    rm -f "$dir/.complete"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$("$PYTHON" --version) is too old for torch $TORCH_VERSION: name Python 3.10 or newer, as in PYTHON=python3.12"
    "$PYTHON" -m venv --clear "$dir" || fail "$PYTHON could not make the virtual environment $dir"
    "$dir/bin/python" -m pip install --disable-pip-version-check --no-input "$@" ||
        fail "pip could not install into $dir (its message is above): a network and a disk with room in TMPDIR? The next run starts it afresh"
    (cd "$dir" && ln -s lib/python*/site-packages/torch libtorch)
    echo "$content" >"$dir/.complete"
}

# CUDA's compiler for the GPU kernels; it runs without a GPU.
NVCC=(nvidia-cuda-{nvcc,crt,runtime,cccl}"==13.0.*" "nvidia-nvvm==13.0.*")

holds() { [[ -e $1/.complete && $(<"$1/.complete") == "$2" ]]; }

# NCCL's wheel has only libnccl.so.2, and the program looks for libnccl.so.
link_nccl() {
    local library
    for library in .venv/lib/python*/site-packages/nvidia/nccl/lib/libnccl.so.2; do
        [[ ! -e $library || -e ${library%.2} ]] || ln -s libnccl.so.2 "${library%.2}"
    done
}

# Prints which libtorch .venv lacks: `complete`, `CPU` or nothing. A complete one serves everywhere.
missing_libtorch() {
    if [[ -n ${LIBTORCH:-} ]]; then
        [[ -e $LIBTORCH/lib/libtorch_cpu.so ]] ||
            fail "LIBTORCH=$LIBTORCH has no lib/libtorch_cpu.so: point it at libtorch $TORCH_VERSION or unset it"
    elif holds .venv "torch $TORCH_VERSION, complete, nvcc"; then
        return
    elif [[ ${GPU:-0} == 1 || -e /proc/driver/nvidia/version ]]; then
        echo complete
    elif holds .venv "torch $TORCH_VERSION, complete"; then
        return # without a compiler of GPU kernels, which only a machine with a GPU wants
    elif ! holds .venv "torch $TORCH_VERSION, CPU"; then
        echo CPU
    fi
}

setup_project() {
    local libtorch
    libtorch=$(missing_libtorch)
    check_rust
    install_packages c++ mpi ${libtorch:+venv}
    case $libtorch in
        complete)
            say "installing the complete libtorch $TORCH_VERSION and CUDA's compiler into .venv (5.1 GB)"
            install_environment .venv "torch $TORCH_VERSION, complete, nvcc" 10 "torch==$TORCH_VERSION" "${NVCC[@]}"
            ;;
        CPU)
            say "installing libtorch $TORCH_VERSION for the CPU into .venv (1.3 GB): no NVIDIA driver here, GPU=1 installs the complete one"
            # The CPU library is itself linked to the CUDA runtime and to CUPTI, and to no other of torch's dependencies.
            install_environment .venv "torch $TORCH_VERSION, CPU" 3 --no-deps "torch==$TORCH_VERSION" \
                "nvidia-cuda-runtime==13.0.*" "nvidia-cuda-cupti==13.0.*"
            ;;
    esac
    link_nccl
}

setup_peer() {
    local content="torch $TORCH_VERSION, torchvision, numpy"
    holds .venv-peer "$content" && return
    install_packages venv
    say "installing PyTorch $TORCH_VERSION into .venv-peer (4.8 GB)"
    install_environment .venv-peer "$content" 10 "torch==$TORCH_VERSION" torchvision pillow numpy
}

# For the test that it takes the GPU kernels' sources, which the program of a machine without a GPU leaves out.
setup_nvcc() {
    holds .tools/nvcc "nvcc 13.0" && return
    install_packages venv
    say "installing CUDA's compiler into .tools/nvcc (0.3 GB)"
    install_environment .tools/nvcc "nvcc 13.0" 1 --no-deps "${NVCC[@]}"
}

check_lints() {
    local tool missing=()
    for tool in rustfmt clippy; do
        cargo "${tool/rust/}" --version >/dev/null 2>&1 || missing+=("$tool")
    done
    ((${#missing[@]})) || return 0
    rustup component add "${missing[@]}" || fail "missing: ${missing[*]} of Rust; run: rustup component add ${missing[*]}"
}

# For `make docs`. Without search and server, and without optimisation, it is built in about a minute.
setup_mdbook() {
    [[ $(.tools/bin/mdbook --version 2>/dev/null) != "mdbook v$MDBOOK_VERSION" ]] || return 0
    say "building mdbook $MDBOOK_VERSION into .tools"
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_STRIP=true CARGO_TARGET_DIR=.tools/build \
        cargo install --quiet --locked --force --no-default-features --root .tools "mdbook@$MDBOOK_VERSION" ||
        fail "mdbook could not be built (cargo's message is above): is there a network?"
    rm -rf .tools/build
}

# One set-up at a time: two would clear away what the other installs.
exec 9<.
flock -n 9 || { say "another set-up is under way here: waiting for its end"; flock 9; }

case ${1:-project} in
    project) setup_project ;;
    test)
        setup_project
        install_packages slurm shellcheck procps chromium
        check_lints
        setup_mdbook
        setup_nvcc
        ;;
    docs)
        check_rust
        setup_mdbook
        ;;
    peer) setup_peer ;;
    *) fail "unknown argument $1: give none, 'test', 'docs' or 'peer'" ;;
esac
