// All of the shim but its kernels, as one file for the compiler: to read libtorch's headers and to write out their templates is
// most of what each of these takes.
#include "accumulate.cpp"
#include "autocast.cpp"
#include "checkpoint.cpp"
#include "kernel_choice.cpp"
#include "layout.cpp"
#include "gpu_profile.cpp"
#include "host_bytes.cpp"
#include "profile.cpp"
#include "shim.cpp"
#include "side_stream.cpp"

#include "cuda/backend.cpp"
#include "graph/graph.cpp"

#include "sync_batch_norm/normalise.cpp"
#include "sync_batch_norm/reduction.cpp"

#include "branch_sum/operation.cpp"
#include "depthwise/operation.cpp"
#include "dropout/operation.cpp"
#include "mix/operation.cpp"
#include "pool/operation.cpp"
#include "separable/operation.cpp"
#include "windows/operation.cpp"
