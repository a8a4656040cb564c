// The backward pass, each launch for all calls whose pixels are read alike: the gradient between the convolutions; then the pointwise
// weights' gradient, the input's and the depthwise weights', none of which waits for another; the sums of blocks' shares.
#pragma once
#include "../cuda/workspace.h"
#include "cuda_input.h"
#include "cuda_middle.h"
#include "cuda_outer.h"
#include "cuda_reading.h"
#include "cuda_taps.h"

namespace pdarts::separable {

template <typename S, Reading R>
__global__ void __launch_bounds__(kCudaThreads, kResidentBlocks<S>)
    gather_gradients(const __grid_constant__ BackwardCalls<S> calls, const __grid_constant__ OuterBatch<Compute<S>> outer,
                     const __grid_constant__ InputBatch<Compute<S>> input,
                     const __grid_constant__ TapsBatch<Compute<S>> taps) {
  PDARTS_DYNAMIC_SHARED(Compute<S>, shared);
  int block = int(blockIdx.x);
  if (block < outer.num_blocks) {
    const auto &part = outer.own(block);
    const CudaBackward<S> &call = calls.of[part.call];
    with_kernel<R>(call.shape,
                   [&]<typename W>(W) { sum_outer_products<S, W, kChannelsOf<R>>(call, part, block, shared); });
    return;
  }
  block -= outer.num_blocks;
  if (block < input.num_blocks) {
    const auto &part = input.own(block);
    sum_input<S, R>(calls, part, block, shared);
    return;
  }
  block -= input.num_blocks;
  constexpr int V = tap_channels(R);
  const auto &part = taps.own(block);
  const CudaBackward<S> &call = calls.of[part.call];
  with_kernel<R, V == 1 ? 7 : kMostPairedKernel>(call.shape, [&]<typename W>(W) {
    sum_taps<S, W, V>(call, calls.middle_gradients[part.call], part, block, shared);
  });
}

// What a backward pass launches, and how much of a workspace it takes; it computes in that workspace unless that is null.
template <typename S> class BackwardPass {
public:
  using T = Compute<S>;

  BackwardPass(const CudaBackward<S> *calls, int num_calls, void *workspace) : workspace_(workspace) {
    for (int index = 0; index < num_calls; ++index) {
      calls_.of[index] = calls[index];
      calls_.middle_gradients[index] = add_middle(index);
      add_outer(index);
      add_taps(index);
    }
    for (int index = 0; index < num_calls; ++index) {
      add_input(index, num_calls);
    }
  }

  int64_t workspace_bytes() const { return workspace_.bytes(); }

  void launch(cuda::Stream stream) const {
    cuda::launch_together(through_pointwise<S, 1>, kCudaThreads, stream, calls_, middle_[0]);
    cuda::launch_together(through_pointwise<S, kChannels>, kCudaThreads, stream, calls_, middle_[1]);
    for_each_reading<S>([&]<Reading R>() {
      cuda::launch_together(gather_gradients<S, R>, kCudaThreads, stream, calls_, outer_[int(R)], input_[int(R)],
                            taps_[int(R)]);
    });
    cuda::launch(add_shares<T>, shares_, kSharesThreads, stream);
  }

private:
  static Chunks chunks(int64_t places, int tiles, int at_once) {
    constexpr int kBlocks = 4 * cuda::kMultiprocessors;
    return Chunks::of(places, tiles < kBlocks ? kBlocks / tiles : 1, at_once);
  }

  // `count` shares of `size` sums that are to be added up into `to`.
  T *add_shares_of(T *to, int64_t size, int count) {
    T *from;
    workspace_.cut(from, size * count);
    shares_.add({from, to, int(size), count}, cuda::divide_up(int(size), cuda::kWarp), 0);
    return from;
  }

  // How vectors of the output's gradient and of the input allow to read both.
  static Reading reading_of(const CudaBackward<S> &call) {
    const CudaShape &s = call.shape;
    return cuda::fits_vectors<kChannels>(call.y_gradient, s.outputs) &&
                   cuda::fits_vectors<kChannels>(call.x_gradient, s.channels)
               ? separable::reading_of(s, call.x)
               : Reading::kSingle;
  }

  T *add_middle(int index) {
    const CudaBackward<S> &call = calls_.of[index];
    if (!call.x_gradient && !call.depthwise_gradient) {
      return nullptr;
    }
    const CudaShape &s = call.shape;
    T *middle_gradient;
    workspace_.cut(middle_gradient, s.out_pixels() * s.middle);
    const auto tiling = ProductTiling::of<T>(s.inputs(), s.outputs);
    const ProductBlocks blocks(tiling, s.out_pixels(), s.groups);
    middle_[reading_of(call) != Reading::kSingle].add({index, blocks}, blocks.count,
                                                      middle_shared_elements<T>(tiling) * sizeof(T));
    return middle_gradient;
  }

  void add_outer(int index) {
    const CudaBackward<S> &call = calls_.of[index];
    if (!call.pointwise_gradient) {
      return;
    }
    const CudaShape &s = call.shape;
    const auto tiling = OuterTiling::of(s.outputs, s.inputs());
    const Reading reading = reading_of(call);
    const int tiles = s.groups * tiling.output_tiles * tiling.input_tiles;
    const Chunks of = chunks(out_places(s, reading), tiles, 2 * tiling.pixels);
    T *shares = add_shares_of(call.pointwise_gradient, int64_t(s.groups) * s.outputs * s.inputs(), of.count);
    outer_[int(reading)].add({index, tiling, of, shares}, int64_t(tiles) * of.count,
                             outer_shared_elements<T>(tiling, s.kernel * s.kernel) * sizeof(T));
  }

  void add_taps(int index) {
    const CudaBackward<S> &call = calls_.of[index];
    if (!call.depthwise_gradient) {
      return;
    }
    const CudaShape &s = call.shape;
    const bool has_pairs = sizeof(T) == sizeof(float) && s.kernel <= kMostPairedKernel && s.channels % 2 == 0 &&
                           s.inputs() % 2 == 0 && cuda::fits_vectors<2>(call.x, s.channels);
    const Reading fitting = vector_reading_of<S>(s);
    const Reading reading = fitting == Reading::kPatches || has_pairs ? fitting : Reading::kSingle;
    const int channels = tap_channels(reading);
    const auto tiling = CudaTiling::of(s.middle / channels, cuda::kWarp);
    const Chunks of = chunks(out_places(s, reading), tiling.tiles, tiling.rows * pixels_of_thread(reading));
    T *shares = add_shares_of(call.depthwise_gradient, int64_t(s.middle) * s.kernel * s.kernel, of.count);
    taps_[int(reading)].add({index, tiling, of, shares}, int64_t(tiling.tiles) * of.count,
                            taps_shared_elements(s, channels) * sizeof(T));
  }

  // The input of the call at `first` and of those behind it that share it; nothing where one before has it.
  void add_input(int first, int num_calls) {
    const CudaBackward<S> &call = calls_.of[first];
    const auto is_shared = [&](int other) { return calls_.of[other].x_gradient == call.x_gradient; };
    int before = 0;
    while (before < first && !is_shared(before)) {
      ++before;
    }
    if (!call.x_gradient || before < first) {
      return;
    }
    const CudaShape &s = call.shape;
    InputPart<T> part{};
    int taps = 0;
    // As all of them can be read.
    Reading reading = Reading::kPatches;
    for (int index = first; index < num_calls; ++index) {
      if (is_shared(index)) {
        part.calls[part.num_calls++] = index;
        taps += taps_of_channel(calls_.of[index].shape);
        const Reading own = reading_of(calls_.of[index]);
        reading = own < reading ? own : reading;
      }
    }
    const int vector = input_channels(reading);
    // The weights of a tile's channels fit into shared memory.
    const int64_t of_vector = int64_t(taps) * vector * sizeof(T), fitting = 48 * 1024 / of_vector;
    part.tiling = CudaTiling::of(s.channels / vector, fitting < 1 ? 1 : fitting > 64 ? 64 : int(fitting));
    part.chunks = chunks(num_places(s.images, s.height, s.width, reading), part.tiling.tiles,
                         part.tiling.rows * pixels_of_thread(reading));
    part.norm_shares = call.norm_sums ? add_shares_of(call.norm_sums, 2 * s.channels, part.chunks.count) : nullptr;
    const int64_t weights = of_vector * part.tiling.width, sums = int64_t(2) * vector * kCudaThreads * sizeof(T);
    input_[int(reading)].add(part, int64_t(part.tiling.tiles) * part.chunks.count, weights > sums ? weights : sums);
  }

  cuda::Parts workspace_;
  BackwardCalls<S> calls_;
  MiddleBatch middle_[2]; // without and with vectors
  OuterBatch<T> outer_[kReadings];
  InputBatch<T> input_[kReadings];
  TapsBatch<T> taps_[kReadings];
  SharesBatch<T> shares_;
};

} // namespace pdarts::separable
