// The C interface of what libtorch offers in C++ only. Tensors are `torch::Tensor*` as tch hands them out.
#pragma once
// Not torch/torch.h, which brings modules, optimizers and data loaders and takes three times as long to compile.
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/version.h>

extern "C" {
// Every function returns nullptr on success, else a message that `pdarts_free_message` releases.
// Adds to `sums`, of one dimension, the gradients that backward has left at `parameters`, and leaves none there.
char *pdarts_accumulate_gradients(const torch::Tensor *const *parameters, const torch::Tensor *const *sums,
                                  size_t num_parameters);
void pdarts_drop_gradients(const torch::Tensor *const *parameters, size_t num_parameters);
// The gradients of `inputs` when `output` has `output_gradient`: new tensors that the caller owns.
char *pdarts_gradients(const torch::Tensor *output, const torch::Tensor *output_gradient,
                       const torch::Tensor *const *inputs, size_t num_inputs, torch::Tensor **gradients);
// Calls `ready(context, index)` whenever backward has left the gradient of `parameter` there, on the thread that did so,
// until the `*hook` that the caller owns is released. The pass goes on if it returns true, else it fails.
char *pdarts_on_gradient(const torch::Tensor *parameter, bool (*ready)(const void *, size_t), const void *context,
                         size_t index, void **hook);
void pdarts_release_hook(void *hook);
// ReLU and depthwise convolution for several edges; `*output` is a new tensor that the caller owns.
char *pdarts_relu_depthwise(const torch::Tensor *x, const torch::Tensor *weight, int64_t stride, int64_t dilation,
                            torch::Tensor **output);
// A BatchNorm; weight and bias may both be null.
struct pdarts_batch_norm {
  const torch::Tensor *weight, *bias, *running_mean, *running_var;
  bool training;
};
// BatchNorm (unless null), ReLU, depthwise and grouped pointwise convolution of `x` for several edges.
struct pdarts_separable_call {
  const torch::Tensor *x, *depthwise_weight, *pointwise_weight;
  int64_t stride, dilation;
  const pdarts_batch_norm *norm;
};
// Calls none of which reads what another gives; `outputs` are new tensors that the caller owns.
char *pdarts_separable(const pdarts_separable_call *calls, size_t num_calls, torch::Tensor **outputs);
// A branch [N, C, H, W] of a node, its BatchNorm and what each image is multiplied with [N, 1, 1, 1]; both may be null.
struct pdarts_branch {
  const torch::Tensor *y;
  const pdarts_batch_norm *norm;
  const torch::Tensor *mask;
};
// The sum of the normalised and masked branches; `*output` is a new tensor that the caller owns.
char *pdarts_branch_sum(const pdarts_branch *branches, int64_t num_branches, torch::Tensor **output);
// An operation's output before BatchNorm and the nodes its edges lead to: [N, E * C, H, W], a block for each edge, or
// [N, C, H, W] for all of them. Both running statistics are null for an operation that is not normalised.
struct pdarts_mix_branch {
  const torch::Tensor *y, *running_mean, *running_var;
  const int64_t *nodes;
  int64_t num_edges;
  bool per_edge;
};
// Adds to the nodes' sums the branches, normalised and weighted by `weights` (for each edge of each branch in turn). A
// null sum begins here and becomes a new tensor that the caller owns.
char *pdarts_mix(torch::Tensor **sums, int64_t num_sums, const pdarts_mix_branch *branches, int64_t num_branches,
                 const torch::Tensor *weights, bool training);
// 3x3 pooling with padding 1, which an average does not count; `*output` is a new tensor that the caller owns.
char *pdarts_max_pool_3x3(const torch::Tensor *x, int64_t stride, torch::Tensor **output);
char *pdarts_avg_pool_3x3(const torch::Tensor *x, int64_t stride, torch::Tensor **output);
// Tensors that the CPU kernels have copied into channels-last memory so far.
int64_t pdarts_num_layout_copies();
// Whether operations of this shim run their own CPU kernels (at first they do) or libtorch's operations.
void pdarts_choose_kernels(bool own);
bool pdarts_own_kernels_chosen();
// Whether GPU kernels are compiled into the program, and whether this process's GPU runs them.
bool pdarts_has_gpu_kernels();
bool pdarts_gpu_runs_kernels();
// Whether GPU kernels compute where `tensor` lies.
bool pdarts_gpu_kernels_compute(const torch::Tensor *tensor);
// From now on the GPU kernels that `library` emulates serve tensors on the CPU; for tests.
char *pdarts_emulate_gpu_kernels(const char *library);
// Computes `*output`, a new tensor that the callee owns; returns null or a message that `free` releases.
typedef char *(*pdarts_forward)(const void *context, const torch::Tensor *const *inputs, size_t num_inputs,
                                torch::Tensor **output);
// A part of a network: `forward` of its inputs, which reads the parameters and moves the statistics. `release(context)` is
// called once, on any thread, when it will not be computed again.
struct pdarts_part {
  pdarts_forward forward;
  void (*release)(void *context);
  void *context;
  const torch::Tensor *const *inputs, *const *parameters, *const *statistics;
  size_t num_inputs, num_parameters, num_statistics;
};
// Its output, a new tensor that the caller owns; backward computes it again instead of using what it kept.
char *pdarts_checkpoint(const pdarts_part *part, torch::Tensor **output);
// Begins to take the time of every operation; ends it, and calls `visit(context, name, seconds, calls)` for each kind.
char *pdarts_profile_start();
char *pdarts_profile_stop(void (*visit)(void *, const char *, double, int64_t), void *context);
// The same for what a GPU does: kernels, copies and fills of memory, with the time that they take there. Both on one thread.
char *pdarts_gpu_profile_start();
char *pdarts_gpu_profile_stop(void (*visit)(void *, const char *, double, int64_t), void *context);
// Sums a tensor over all ranks in place, or returns a message that `free` releases.
typedef char *(*pdarts_reduce)(const torch::Tensor *);
// From now on BatchNorm in training takes the statistics of all ranks, those of this one again when null.
void pdarts_synchronise_batch_norm(pdarts_reduce call);
// A stream of GPU `device` beside the current one, and its `cudaStream_t`; the GPU becomes this thread's.
char *pdarts_new_side_stream(int64_t device, void **side, void **handle);
// Lets the side stream wait for what is queued on this thread's current stream.
char *pdarts_side_stream_follow(const void *side);
// An event after what is queued on the side stream; the caller owns it.
char *pdarts_side_stream_record(const void *side, void **event);
// Lets this thread's current stream wait for an event.
char *pdarts_wait_for_event(const void *side, const void *event);
char *pdarts_event_is_complete(const void *event, bool *is_complete);
void pdarts_release_side_stream(void *side);
void pdarts_release_event(void *event);
// So many bytes of host memory that is page-locked, a new tensor that the caller owns; where there is no GPU there is none.
char *pdarts_page_locked_bytes(int64_t num_bytes, torch::Tensor **bytes);
// The most memory of GPU `device` that tensors have taken at one time.
char *pdarts_peak_gpu_bytes(int64_t device, int64_t *bytes);
// From now on the calling thread queues its work on GPU `device` on a stream of its own.
char *pdarts_use_own_stream(int64_t device);
// Begins to record what the thread queues on that stream; the caller owns `*graph`. Its work shares the memory of the graph
// `shares`, which may be null.
char *pdarts_begin_graph(int64_t device, const void *shares, bool any_thread_cuts, void **graph);
// Begins another part of it, on any thread if that was said.
char *pdarts_cut_graph(void *graph);
// Ends the recording.
char *pdarts_finish_graph(void *graph);
// Queues a part of what was recorded, the parts in their order; its draws are made with `probability`.
char *pdarts_replay_graph(void *graph, size_t part, double probability);
// The kernels and copies of all parts.
int64_t pdarts_graph_size(const void *graph);
void pdarts_release_graph(void *graph);
// Dropout by draws that a replay repeats, each copy by its own; `outputs` are new tensors that the caller owns.
char *pdarts_dropouts(const torch::Tensor *x, double probability, size_t num_copies, torch::Tensor **outputs);
// Windows on images in bytes [M, H, W, 3], as rows of `windows` [N, 8] tell them (torch/windows.rs), normalised with three means
// and three standard deviations in `colours`, into `y` [N, H, W, 3]: where GPU kernels compute, by one.
char *pdarts_write_windows(const torch::Tensor *images, const torch::Tensor *windows, const float *colours,
                           const torch::Tensor *y);
void pdarts_free_message(char *message);
const char *pdarts_libtorch_version();
}
