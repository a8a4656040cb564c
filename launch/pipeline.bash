# shellcheck shell=bash
# What launch/pipeline.sh and launch/slurm/pipeline.sh have in common: the three parts of the way from a search to
# ImageNet, and a look at all that they need before the first begins.
#
# They set: me (their name), checkout, and call take_option and check_inputs.
# shellcheck disable=SC2154

# shellcheck source=launch/runs.bash
source "$checkout/launch/runs.bash"

# The second and third train the cell that the first has found, which is in its genotype.json.
parts=(search train imagenet)
declare -A command_of=([search]=search [train]=train [imagenet]=train)
declare -A config_of=(
    [search]=$checkout/configs/search-cifar10.toml
    [train]=$checkout/configs/train-cifar10.toml
    [imagenet]=$checkout/configs/train-imagenet.toml
)
declare -A data_of=([search]=$checkout/data [train]=$checkout/data [imagenet]='')
name=pdarts out=''
program=$(program_in "$checkout")

shared_options() {
    cat <<'TEXT'
  --imagenet DIR          ImageNet, or other images: folders, or better shards of `pdarts data pack`
  --cifar DIR             the folder with CIFAR, for search and retraining [default: data of this checkout]
  --name NAME             what the pipeline is called [default: pdarts]
  --out DIR               where its runs go: DIR/search, DIR/train, DIR/imagenet [default: runs/NAME]
  --search-config FILE    [default: configs/search-cifar10.toml]
  --train-config FILE     [default: configs/train-cifar10.toml]
  --imagenet-config FILE  [default: configs/train-imagenet.toml]
TEXT
}

fail() { echo "$me: $*" >&2; exit 2; }

# take_value OPTION VALUE: where it has one.
take_value() { [[ $# == 2 && -n $2 && $2 != -* ]] || fail "$1 needs a value (see --help)"; }

# take_option OPTION VALUE: one of those above; fails for others.
take_option() {
    case $1 in
        --imagenet | --cifar | --name | --out | --search-config | --train-config | --imagenet-config) take_value "$@" ;;
        -*) fail "unknown option $1 (see --help)" ;;
        *) fail "$1 is no option (see --help)" ;;
    esac
    case $1 in
        --imagenet) data_of[imagenet]=$2 ;;
        --cifar) data_of[search]=$2 data_of[train]=$2 ;;
        --name) name=$2 ;;
        --out) out=$2 ;;
        --*-config) local part=${1#--}; config_of[${part%-config}]=$2 ;;
    esac
}

run_of() { echo "$out/$1"; }

# The genotype of the search, for the trainings.
genotype_file() { echo "$(run_of search)/genotype.json"; }

# planned PART OPTION [ARGUMENT...]: what `pdarts plan` says of the part, as JSON; fails with its error, for which the option
# is to blame.
planned() {
    local part=$1 option=$2 result
    result=$("$program" plan --config "${config_of[$part]}" --gpus 1 --json "${@:3}" 2>&1) ||
        fail "$option: ${result#error: }"
    echo "$result"
}

# Fails with one line before anything has begun. The data are opened, and counted, by the program.
check_inputs() {
    local part plan option
    [[ $name =~ ^[A-Za-z0-9._-]+$ ]] || fail "--name $name: give letters, digits, dots, dashes and underscores"
    out=$(realpath -m "${out:-runs/$name}")
    [[ -x $program ]] || fail "there is no program $program: run 'make build', or set PDARTS"
    for part in "${parts[@]}"; do
        [[ -r ${config_of[$part]} ]] || fail "--$part-config: there is no file ${config_of[$part]}"
        config_of[$part]=$(realpath "${config_of[$part]}")
        plan=$(planned "$part" "--$part-config") || exit
        [[ $part == search ]] || grep -q '"kind": "training"' <<<"$plan" ||
            fail "--$part-config: ${config_of[$part]} is no configuration of a training"
        [[ $part != search ]] || grep -q '"kind": "search"' <<<"$plan" ||
            fail "--$part-config: ${config_of[$part]} is no configuration of a search"
        option=--cifar
        [[ $part != imagenet ]] || option=--imagenet
        [[ -n ${data_of[$part]} ]] || fail "$option: give the folder with the images"
        [[ -e ${data_of[$part]} ]] || fail "$option: there is no folder ${data_of[$part]}"
        data_of[$part]=$(realpath "${data_of[$part]}")
        planned "$part" "$option" --data "${data_of[$part]}" >/dev/null || exit
    done
    if is_complete "$(run_of search)" && [[ ! -e $(genotype_file) ]]; then
        fail "$(run_of search) is complete, but $(genotype_file) is gone: give another --name"
    fi
    mkdir -p "$out" 2>/dev/null || fail "cannot make the folder $out"
}

say_results() {
    echo "the table of all, when they are complete: $program results $(run_of search) $(run_of train) $(run_of imagenet)"
}
