#include "graph.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

#include <atomic>
#include <mutex>
#include <vector>

#ifdef PDARTS_HAS_CUDA_KERNELS
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>
#endif

#include "../guarded.h"
#include "../shim.h"

namespace pdarts::graph {
namespace {

// One probability and so many seeds.
constexpr int64_t kMaxDraws = 4096;

// Where the draws of recorded work are found when it is replayed: the probability's bits, then the seeds.
struct Slots {
  torch::Tensor values; // int64, on the device
  int64_t num_draws = 0;
};

// Set on the thread that records.
thread_local Slots *recording = nullptr;

uint64_t new_seed() {
  auto generator = at::globalContext().defaultGenerator(at::kCPU);
  const std::lock_guard lock(generator.mutex());
  return generator.get<at::CPUGeneratorImpl>()->random64();
}

} // namespace

Draw next_draw(double probability) {
  if (!recording) {
    return {new_seed(), probability, nullptr, nullptr};
  }
  TORCH_CHECK(recording->num_draws < kMaxDraws, "more than ", kMaxDraws, " draws in work that is recorded");
  const auto *slots = recording->values.const_data_ptr<int64_t>();
  const auto *seed = reinterpret_cast<const uint64_t *>(slots + 1 + recording->num_draws++);
  return {0, 0, seed, reinterpret_cast<const double *>(slots)};
}

#ifdef PDARTS_HAS_CUDA_KERNELS
namespace {

using c10::cuda::CUDACachingAllocator::CUDAAllocator;

CUDAAllocator &allocator() { return *static_cast<CUDAAllocator *>(c10::GetAllocator(c10::kCUDA)); }

void check(cudaError_t result, const char *what) {
  if (result != cudaSuccess) {
    cudaGetLastError(); // The next call shall not find it.
    TORCH_CHECK(false, what, ": ", cudaGetErrorString(result));
  }
}

// Recorded work, in one part or several that are replayed one after the other. While it is recorded, what the stream allocates
// comes from memory that nothing else uses but the graph that it shares it with, if there is one.
class Graph {
public:
  Graph(c10::DeviceIndex device, const Graph *shares, bool any_thread_cuts)
      : device_(device),
        // A part ends on the thread that began it, unless calls that cannot be recorded pass unnoticed.
        mode_(any_thread_cuts ? cudaStreamCaptureModeRelaxed : cudaStreamCaptureModeThreadLocal) {
    const auto stream = at::accelerator::getCurrentStream(device);
    stream_ = static_cast<cudaStream_t>(stream.native_handle());
    TORCH_CHECK(stream_, "the default stream cannot be recorded");
    slots_.values = at::empty({1 + kMaxDraws}, at::TensorOptions(at::kLong).device(c10::Device(c10::kCUDA, device)));
    static std::atomic<c10::CaptureId_t> next_pool{uint64_t(1) << 32};
    pool_ = shares ? shares->pool_ : c10::MempoolId_t{next_pool++, 0};
    // The same work done before has left as much memory in libtorch's cache, which is not given back while something is recorded.
    allocator().emptyCache();
    allocator().beginAllocateToPool(device_, pool_, [stream = stream_](cudaStream_t other) { return other == stream; });
    owns_pool_ = allocates_ = true;
    try {
      begin_part();
    } catch (...) {
      release();
      throw;
    }
    recording = &slots_;
  }

  ~Graph() { release(); }
  Graph(const Graph &) = delete;
  Graph &operator=(const Graph &) = delete;

  // Ends a part and begins the next.
  void cut() {
    TORCH_CHECK(mode_ == cudaStreamCaptureModeRelaxed, "a graph in one part");
    end_part();
    begin_part();
  }

  // Ends the recording.
  void finish() {
    recording = nullptr;
    end_part();
    end_allocation();
  }

  // All parts are replayed, in their order.
  void replay(size_t part, double probability) {
    if (part == 0 && slots_.num_draws > 0) {
      const auto host = at::empty({1 + slots_.num_draws}, at::TensorOptions(at::kLong).pinned_memory(true));
      auto *values = host.mutable_data_ptr<int64_t>();
      memcpy(values, &probability, sizeof(probability));
      for (int64_t draw = 1; draw <= slots_.num_draws; ++draw) {
        values[draw] = int64_t(new_seed());
      }
      slots_.values.narrow(0, 0, host.size(0)).copy_(host, /*non_blocking=*/true);
    }
    check(cudaGraphLaunch(parts_.at(part), stream_), "replaying a CUDA graph");
  }

  size_t num_nodes() const { return num_nodes_; }

private:
  const c10::DeviceIndex device_;
  const cudaStreamCaptureMode mode_;
  cudaStream_t stream_;
  c10::MempoolId_t pool_;
  Slots slots_;
  bool owns_pool_ = false, allocates_ = false, records_ = false;
  std::vector<cudaGraphExec_t> parts_;
  size_t num_nodes_ = 0;

  void begin_part() {
    // Other threads may ask the GPU questions meanwhile.
    check(cudaStreamBeginCapture(stream_, mode_), "CUDA cannot record");
    records_ = true;
  }

  void end_part() {
    cudaGraph_t graph = nullptr;
    records_ = false;
    check(cudaStreamEndCapture(stream_, &graph), "CUDA could not record");
    cudaGraphExec_t part = nullptr;
    const cudaError_t made = cudaGraphInstantiate(&part, graph, 0);
    size_t num_nodes = 0;
    cudaGraphGetNodes(graph, nullptr, &num_nodes);
    cudaGraphDestroy(graph);
    check(made, "CUDA cannot replay what it recorded");
    parts_.push_back(part);
    num_nodes_ += num_nodes;
  }

  void end_allocation() {
    if (allocates_) {
      allocator().endAllocateToPool(device_, pool_);
      allocates_ = false;
    }
  }

  void release() {
    if (recording == &slots_) {
      recording = nullptr;
    }
    if (records_) {
      cudaGraph_t graph = nullptr;
      if (cudaStreamEndCapture(stream_, &graph) == cudaSuccess && graph) {
        cudaGraphDestroy(graph);
      }
      cudaGetLastError();
    }
    end_allocation();
    if (!parts_.empty()) {
      cudaStreamSynchronize(stream_);
    }
    for (const cudaGraphExec_t part : parts_) {
      cudaGraphExecDestroy(part);
    }
    if (owns_pool_) {
      allocator().releasePool(device_, pool_);
    }
  }
};

} // namespace
#endif

} // namespace pdarts::graph

#ifdef PDARTS_HAS_CUDA_KERNELS
using pdarts::graph::Graph;

char *pdarts_begin_graph(int64_t device, const void *shares, bool any_thread_cuts, void **graph) {
  return guarded([&] { *graph = new Graph(device, static_cast<const Graph *>(shares), any_thread_cuts); });
}

char *pdarts_cut_graph(void *graph) {
  return guarded([&] { static_cast<Graph *>(graph)->cut(); });
}

char *pdarts_finish_graph(void *graph) {
  return guarded([&] { static_cast<Graph *>(graph)->finish(); });
}

char *pdarts_replay_graph(void *graph, size_t part, double probability) {
  return guarded([&] { static_cast<Graph *>(graph)->replay(part, probability); });
}

int64_t pdarts_graph_size(const void *graph) { return static_cast<const Graph *>(graph)->num_nodes(); }

void pdarts_release_graph(void *graph) { delete static_cast<Graph *>(graph); }
#else
namespace {
constexpr const char *kNone = "this program was compiled without GPU kernels";
} // namespace

char *pdarts_begin_graph(int64_t, const void *, bool, void **) { return strdup(kNone); }
char *pdarts_cut_graph(void *) { return strdup(kNone); }
char *pdarts_finish_graph(void *) { return strdup(kNone); }
char *pdarts_replay_graph(void *, size_t, double) { return strdup(kNone); }
int64_t pdarts_graph_size(const void *) { return 0; }
void pdarts_release_graph(void *) {}
#endif

char *pdarts_peak_gpu_bytes(int64_t device, int64_t *bytes) {
  return guarded([&] { *bytes = at::accelerator::getDeviceStats(device).allocated_bytes[0].peak; });
}

char *pdarts_use_own_stream(int64_t device) {
  return guarded([&] {
    at::accelerator::setDeviceIndex(device);
    const auto type = at::accelerator::getAccelerator(/*checked=*/true).value();
    const c10::impl::VirtualGuardImpl accelerator(type);
    // The same sums in the same order every time, and float32 in float32.
    at::globalContext().setDeterministicCuDNN(true);
    at::globalContext().setBenchmarkCuDNN(false);
    at::globalContext().setAllowTF32CuDNN(false);
    at::accelerator::setCurrentStream(
        accelerator.getStreamFromGlobalPool(c10::Device(type, device), /*isHighPriority=*/false));
  });
}
