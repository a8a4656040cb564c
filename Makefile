# `make search` and `make test` work on a fresh clone; every other target is a part of these or stands beside them.
# Always the release profile: libtorch's bindings then compile once.

CONFIG := $(or $(CONFIG),configs/search-quickstart.toml)
# Cargo, with advice when it fails.
CARGO := launch/cargo.sh
PDARTS := $(or $(CARGO_TARGET_DIR),target)/release/pdarts
BENCH_FLAGS ?= --device cpu --global-batch 32 --threads 2 --repeats 5 --json

# The tests' own build: half of the time to compile, and little of what they run.
UNOPTIMISED := --config tests/profile.toml
# Of tests that run long.
LESS_OPTIMISED := --config 'profile.release.package.pdarts.opt-level=1'
KERNEL_TESTS := branch_sum depthwise separable mix pool sync_batch_norm
SLURM_TEST := jobs_end_with_what_the_same_ranks_find_elsewhere
# What has threads of its own; the last line is of ranks, in tests/nccl.
THREADED := data::loader data::prefetch data::parallel data::buffer_pool data::bad_images data::shards::pack \
	run:: trace:: world:: trainer::parallel \
	collectives:: failures:: stalls:: search_by_nccl
HOST = $(shell rustc -vV | sed -n 's/host: //p')

.NOTPARALLEL:
.PHONY: help setup build search reproduce-quickstart imagenet-smoke test check lint tests docs sanitize races soak bench gpu-check test-setup peer-setup clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: a compiler, MPI, libtorch in .venv (GPU=1: with CUDA, LIBTORCH=DIR: use that one)
	@launch/setup.sh

build: setup ## compile the pdarts program in target/release
	$(CARGO) build --release

search: build ## search a cell on the embedded images (CONFIG=FILE: another search)
	$(PDARTS) search --config $(CONFIG)

reproduce-quickstart: build ## search, train the cell with three seeds, test, compare; what is complete is not repeated
	PDARTS=$(PDARTS) launch/reproduce.sh

imagenet-smoke: build ## pack, check, train, kill, resume and evaluate on a small tree of images, as on ImageNet
	$(CARGO) build --release --example image_tree
	PDARTS=$(PDARTS) launch/imagenet-smoke.sh

test: test-setup lint sanitize tests ## set up and run every check: what continuous integration runs

check: lint tests ## formatting, lints, documentation and tests, cheapest first, on a machine that is set up

# Lints and documentation link nothing: without the C++ shim they take a fraction of the time.
lint: export PDARTS_SHIM = none
lint:
	$(CARGO) fmt --all --check
	shellcheck -x launch/*.sh launch/slurm/* tests/slurm/*.sh
	$(CARGO) clippy --release $(UNOPTIMISED) --workspace --all-targets -- -D warnings
	.tools/bin/mdbook build
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release $(UNOPTIMISED) --workspace --no-deps --document-private-items

# The cluster's test waits for most of its time, so it runs beside the others; what it says comes last.
tests:
	$(CARGO) test --release $(UNOPTIMISED) --workspace --no-run
	@folder=$$(mktemp -d); $(CARGO) test --release $(UNOPTIMISED) --test slurm >$$folder/slurm 2>&1 & slurm=$$!; \
	$(CARGO) test --release $(UNOPTIMISED) --workspace -- --skip $(SLURM_TEST); code=$$?; \
	echo "beside these:"; wait $$slurm || code=$$?; cat $$folder/slurm; rm -r $$folder; exit $$code

docs: ## build the documentation as a site: target/book/index.html
	@launch/setup.sh docs
	.tools/bin/mdbook build
	@echo "open $(CURDIR)/target/book/index.html"

# Its program would not start by itself.
sanitize: setup ## run the tests of the C++ kernels under AddressSanitizer
	ASAN_OPTIONS=detect_leaks=0 \
	CARGO_TARGET_$(shell echo $(HOST) | tr a-z- A-Z_)_RUNNER="env LD_PRELOAD=$$(gcc -print-file-name=libasan.so)" \
	$(CARGO) test --release $(UNOPTIMISED) --features address-sanitizer $(KERNEL_TESTS:%=--test %) -- \
		--skip gpu_kernels_pass_in_the_emulation; code=$$?; rm -f $(PDARTS); exit $$code

# The option is unstable, so the compiler is told to be a nightly one. tests/races.supp has what is no race.
races: setup ## run the tests of what has threads under ThreadSanitizer (after `rustup component add rust-src`)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread TSAN_OPTIONS="suppressions='$(CURDIR)/tests/races.supp'" \
	$(CARGO) test --release $(UNOPTIMISED) -Zbuild-std --target $(HOST) --lib --test nccl -- $(THREADED)

soak: setup ## hundreds of kills, thousands of steps, millions of broken inputs, and a summary: beside `make test` (PDARTS_SOAK)
	launch/soak.sh $(CARGO) --release $(LESS_OPTIMISED) --config 'profile.release.package.pdarts.overflow-checks=true'

gpu-check: ## on a GPU: numbers, tests, equal and resumed runs, speed beside plain PyTorch, on one page
	@launch/gpu-check.sh --has-gpu
	@$(MAKE) --no-print-directory build peer-setup
	PDARTS=$(PDARTS) launch/gpu-check.sh

bench: build peer-setup ## time the supernet's steps, then the plain PyTorch peer's, stage by stage (BENCH_FLAGS)
	@set -e; for stage in 1 2 3; do \
		echo "pdarts:" >&2; $(PDARTS) bench supernet --stage $$stage $(BENCH_FLAGS); \
		echo "peer:" >&2; env -u PYTHONPATH -u PYTHONHOME PYTHONNOUSERSITE=1 \
			.venv-peer/bin/python benches/peers/supernet.py --stage $$stage $(BENCH_FLAGS); \
	done

test-setup:
	@launch/setup.sh test

peer-setup:
	@launch/setup.sh peer

clean: ## remove what was compiled; runs and libtorch stay
	cargo clean
