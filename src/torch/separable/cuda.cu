// The launches of cuda.h's kernels.
#include "cuda_backward.h"
#include "cuda_forward.h"

namespace pdarts::separable {
namespace {

constexpr int kInvalidValue = 1; // cudaErrorInvalidValue
constexpr int64_t kOrdinaryShared = 48 * 1024;

int64_t out_pixels(const CudaShape &s) { return int64_t(s.images) * s.out_height * s.out_width; }
int64_t in_pixels(const CudaShape &s) { return int64_t(s.images) * s.height * s.width; }

dim3 product_blocks(const CudaShape &s, const ProductTiling &tiling) {
  const int64_t blocks = (out_pixels(s) + tiling.pixels() - 1) / tiling.pixels();
  return dim3(unsigned(blocks), unsigned(s.groups * tiling.column_tiles));
}

// Calls `launch.operator()<K, D>()`; D is the dilation where pixels are computed together, else 0. Where that pays there are
// instances for it: for the kernels of the search space, in the types that networks compute in.
template <typename S, typename Launch> int with_kernel(const CudaShape &s, bool together, const Launch &launch) {
  if constexpr (sizeof(S) < sizeof(double)) {
    if (together && s.stride == 1 && s.width % kAdjacent == 0 && s.kernel < 7) {
      switch (10 * s.kernel + s.dilation) {
      case 31: launch.template operator()<3, 1>(); break;
      case 32: launch.template operator()<3, 2>(); break;
      case 51: launch.template operator()<5, 1>(); break;
      case 52: launch.template operator()<5, 2>(); break;
      default: return kInvalidValue;
      }
      return cuda::launch_result();
    }
  }
  switch (s.kernel) {
  case 3: launch.template operator()<3, 0>(); break;
  case 5: launch.template operator()<5, 0>(); break;
  case 7: launch.template operator()<7, 0>(); break;
  default: return kInvalidValue;
  }
  return cuda::launch_result();
}

// Whether the channels of the input and of a group's inputs can be read in vectors.
template <int V, typename S> bool reads_vectors(const CudaShape &s, const S *x) {
  return s.inputs() % V == 0 && cuda::fits_vectors<V>(x, s.channels);
}

template <typename S> int forward(const CudaForward<S> &call, cuda::Stream stream) {
  using T = Compute<S>;
  const CudaShape &s = call.shape;
  const auto tiling = ProductTiling::of<T>(s.outputs, s.inputs());
  const bool vectors = reads_vectors<kChannels>(s, call.x) && cuda::fits_vectors<kChannels>(call.y, s.outputs);
  return with_kernel<S>(s, vectors, [&]<int K, int D>() {
    const int64_t bytes = forward_shared_elements<T>(tiling, K * K) * int64_t(sizeof(T));
    const auto kernel = vectors ? convolve<S, K, kChannels, D> : convolve<S, K, 1, 0>;
    if (bytes > kOrdinaryShared) {
      PDARTS_ALLOW_SHARED(kernel, bytes);
    }
    PDARTS_LAUNCH(kernel, product_blocks(s, tiling), dim3(kCudaThreads), bytes, stream, call, tiling);
  });
}

// ---- Backward ----

// How the passes of a backward pass are cut up, and where their results stand in the workspace.
template <typename T> struct BackwardPlan {
  OuterTiling outer;
  Chunks outer_chunks;
  CudaTiling input, taps; // of vectors of input channels, of pairs of middle channels
  Chunks input_chunks, taps_chunks;
  int64_t middle, outer_shares, tap_shares, norm_shares, bytes; // in the workspace

  BackwardPlan(const CudaShape &s, int input_vector, int tap_vector) {
    constexpr int kBlocks = 4 * cuda::kMultiprocessors;
    const auto chunks = [](int64_t pixels, int tiles, int least) {
      return Chunks::of(pixels, tiles < kBlocks ? kBlocks / tiles : 1, least);
    };
    outer = OuterTiling::of(s.outputs, s.inputs());
    outer_chunks = chunks(out_pixels(s), s.groups * outer.output_tiles * outer.input_tiles, 2 * outer.pixels);
    // The weights of all edges of a tile's channels fit into shared memory.
    const int64_t of_vector = int64_t(s.middle / s.channels) * s.kernel * s.kernel * input_vector * sizeof(T);
    const int64_t fitting = 32 * 1024 / of_vector;
    input = CudaTiling::of(s.channels / input_vector, fitting < 1 ? 1 : fitting > 64 ? 64 : int(fitting));
    input_chunks = chunks(in_pixels(s), input.tiles, input.rows);
    taps = CudaTiling::of(s.middle / tap_vector, cuda::kWarp);
    taps_chunks = chunks(out_pixels(s), taps.tiles, 4 * taps.rows);
    bytes = 0;
    const auto take = [&](int64_t elements) {
      const int64_t begin = bytes;
      bytes += (elements * int64_t(sizeof(T)) + 255) / 256 * 256;
      return begin;
    };
    middle = take(out_pixels(s) * s.middle);
    outer_shares = take(int64_t(outer_chunks.count) * s.groups * s.outputs * s.inputs());
    tap_shares = take(int64_t(taps_chunks.count) * s.middle * s.kernel * s.kernel);
    norm_shares = take(int64_t(input_chunks.count) * 2 * s.channels);
  }
};

// Middle channels that a thread sums all taps of: as many as its registers hold.
template <typename S> int tap_vector(const CudaShape &s) {
  return sizeof(Compute<S>) == sizeof(float) && s.kernel < 7 && s.channels % 2 == 0 ? 2 : 1;
}

template <typename S> int64_t backward_workspace_bytes(const CudaShape &shape) {
  using T = Compute<S>;
  // Whichever vectors the pointers will allow.
  int64_t most = 0;
  for (const int input_vector : {1, shape.channels % kChannels == 0 ? kChannels : 1}) {
    for (const int taps : {1, tap_vector<S>(shape)}) {
      const int64_t bytes = BackwardPlan<T>(shape, input_vector, taps).bytes;
      most = bytes > most ? bytes : most;
    }
  }
  return most;
}

template <typename S> int backward(const CudaBackward<S> &call, cuda::Stream stream) {
  using T = Compute<S>;
  const CudaShape &s = call.shape;
  const bool vectors = reads_vectors<kChannels>(s, call.x) && cuda::fits_vectors<kChannels>(call.x_gradient, s.channels);
  const bool output_vectors = cuda::fits_vectors<kChannels>(call.y_gradient, s.outputs);
  const bool pairs = tap_vector<S>(s) == 2 && s.inputs() % 2 == 0 && cuda::fits_vectors<2>(call.x, s.channels);
  const BackwardPlan<T> plan(s, vectors ? kChannels : 1, pairs ? 2 : 1);
  const auto at = [&](int64_t offset) { return reinterpret_cast<T *>(static_cast<char *>(call.workspace) + offset); };
  T *const middle_gradient = at(plan.middle);
  if (call.x_gradient || call.depthwise_gradient) {
    const auto tiling = ProductTiling::of<T>(s.inputs(), s.outputs);
    const auto kernel = vectors && output_vectors ? through_pointwise<S, kChannels, kChannels> : through_pointwise<S, 1, 1>;
    const int64_t bytes = middle_shared_elements<T>(tiling) * int64_t(sizeof(T));
    if (bytes > kOrdinaryShared) {
      PDARTS_ALLOW_SHARED(kernel, bytes);
    }
    PDARTS_LAUNCH(kernel, product_blocks(s, tiling), dim3(kCudaThreads), bytes, stream, call, tiling, middle_gradient);
  }
  const auto passes = [&]<int K, int D>() {
    if (call.pointwise_gradient) {
      const auto kernel = vectors && output_vectors ? outer_product<S, K, kChannels, kChannels, D>
                                                    : outer_product<S, K, 1, 1, 0>;
      const int64_t bytes = outer_shared_elements<T>(plan.outer, K * K) * int64_t(sizeof(T));
      if (bytes > kOrdinaryShared) {
        PDARTS_ALLOW_SHARED(kernel, bytes);
      }
      const dim3 blocks(unsigned(plan.outer_chunks.count),
                        unsigned(s.groups * plan.outer.output_tiles * plan.outer.input_tiles));
      PDARTS_LAUNCH(kernel, blocks, dim3(kCudaThreads), bytes, stream, call, plan.outer, plan.outer_chunks,
                    at(plan.outer_shares));
    }
    if (call.x_gradient) {
      const auto kernel = vectors ? gather_input<S, K, kChannels, D> : gather_input<S, K, 1, 0>;
      const int vector = vectors ? kChannels : 1;
      const int64_t weights = int64_t(s.middle / s.channels) * K * K * plan.input.width * vector;
      const int64_t sums = 2 * vector * kCudaThreads, bytes = (weights > sums ? weights : sums) * int64_t(sizeof(T));
      if (bytes > kOrdinaryShared) {
        PDARTS_ALLOW_SHARED(kernel, bytes);
      }
      PDARTS_LAUNCH(kernel, dim3(unsigned(plan.input_chunks.count), unsigned(plan.input.tiles)), dim3(kCudaThreads), bytes,
                    stream, call, plan.input, plan.input_chunks, (const T *)middle_gradient,
                    call.norm_sums ? at(plan.norm_shares) : nullptr);
    }
    if (call.depthwise_gradient) {
      const auto kernel = pairs ? gather_taps<S, K, 2, D> : gather_taps<S, K, 1, 0>;
      PDARTS_LAUNCH(kernel, dim3(unsigned(plan.taps_chunks.count), unsigned(plan.taps.tiles)), dim3(kCudaThreads), 0, stream,
                    call, plan.taps, plan.taps_chunks, (const T *)middle_gradient, at(plan.tap_shares));
    }
  };
  const int result = with_kernel<S>(s, vectors && output_vectors && pairs, passes);
  if (result != 0) {
    return result;
  }
  const Shares<T> shares[3] = {
      {at(plan.outer_shares), call.pointwise_gradient, s.groups * s.outputs * s.inputs(), plan.outer_chunks.count},
      {at(plan.tap_shares), call.depthwise_gradient, s.middle * s.kernel * s.kernel, plan.taps_chunks.count},
      {at(plan.norm_shares), call.x_gradient ? call.norm_sums : nullptr, 2 * s.channels, plan.input_chunks.count}};
  int blocks = 0;
  for (const Shares<T> &of : shares) {
    blocks += of.to ? cuda::divide_up(of.size, cuda::kWarp) : 0;
  }
  if (blocks > 0) {
    PDARTS_LAUNCH(add_shares<T>, dim3(unsigned(blocks)), dim3(kSharesThreads), 0, stream, shares[0], shares[1], shares[2]);
  }
  return cuda::launch_result();
}

} // namespace

extern const CudaKernels<float> cuda_float_kernels = {forward<float>, backward_workspace_bytes<float>, backward<float>};
extern const CudaKernels<double> cuda_double_kernels = {forward<double>, backward_workspace_bytes<double>,
                                                        backward<double>};
extern const CudaKernels<BFloat16> cuda_bfloat16_kernels = {forward<BFloat16>, backward_workspace_bytes<BFloat16>,
                                                            backward<BFloat16>};

} // namespace pdarts::separable
