/// The GPU kernels: `cuda.cu` in each of these folders, the one that takes longest to compile first. The build and the tests
/// that compile them include this.
const GPU_KERNELS: [&str; 7] = ["separable", "branch_sum", "channelwise", "dropout", "mix", "pool", "windows"];
