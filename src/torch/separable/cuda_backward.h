// The backward pass: the gradient between the convolutions; the pointwise weights' gradient; the input's; the depthwise weights';
// the sums of blocks' shares. Each is one launch for all calls whose pixels are read alike.
#pragma once
#include "../cuda/workspace.h"
#include "cuda_input.h"
#include "cuda_middle.h"
#include "cuda_outer.h"
#include "cuda_reading.h"
#include "cuda_taps.h"

namespace pdarts::separable {

// What a backward pass launches, and how much of a workspace it takes; it computes in that workspace unless that is null.
template <typename S> class BackwardPass {
public:
  using T = Compute<S>;

  BackwardPass(const CudaBackward<S> *calls, int num_calls, void *workspace) : workspace_(workspace) {
    T *middle_gradients[kMostCalls];
    for (int index = 0; index < num_calls; ++index) {
      middle_gradients[index] = add_middle(calls[index]);
      add_outer(calls[index]);
      add_taps(calls[index], middle_gradients[index]);
    }
    for (int index = 0; index < num_calls; ++index) {
      if (!shares_input(calls, index)) {
        add_input(calls, num_calls, index, middle_gradients);
      }
    }
  }

  int64_t workspace_bytes() const { return workspace_.bytes(); }

  void launch(cuda::Stream stream) const {
    cuda::launch(through_pointwise<S, 1>, middle_[0], kCudaThreads, stream);
    cuda::launch(through_pointwise<S, kChannels>, middle_[1], kCudaThreads, stream);
    for_each_reading<S>([&]<Reading R>() {
      constexpr int kIndex = int(R);
      cuda::launch(outer_product<S, R>, outer_[kIndex], kCudaThreads, stream);
      cuda::launch(gather_input<S, R>, input_[kIndex], kCudaThreads, stream);
      cuda::launch(gather_taps<S, R>, taps_[kIndex], kCudaThreads, stream);
    });
    cuda::launch(add_shares<T>, shares_, kSharesThreads, stream);
  }

private:
  static Chunks chunks(int64_t places, int tiles, int least) {
    constexpr int kBlocks = 4 * cuda::kMultiprocessors;
    return Chunks::of(places, tiles < kBlocks ? kBlocks / tiles : 1, least);
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

  T *add_middle(const CudaBackward<S> &call) {
    if (!call.x_gradient && !call.depthwise_gradient) {
      return nullptr;
    }
    const CudaShape &s = call.shape;
    T *middle_gradient;
    workspace_.cut(middle_gradient, s.out_pixels() * s.middle);
    const auto tiling = ProductTiling::of<T>(s.inputs(), s.outputs);
    const ProductBlocks blocks(tiling, s.out_pixels(), s.groups);
    middle_[reading_of(call) != Reading::kSingle].add({call, blocks, middle_gradient}, blocks.count,
                                                      middle_shared_elements<T>(tiling) * sizeof(T));
    return middle_gradient;
  }

  void add_outer(const CudaBackward<S> &call) {
    if (!call.pointwise_gradient) {
      return;
    }
    const CudaShape &s = call.shape;
    const auto tiling = OuterTiling::of(s.outputs, s.inputs());
    const Reading reading = reading_of(call);
    const int tiles = s.groups * tiling.output_tiles * tiling.input_tiles;
    const Chunks of = chunks(out_places(s, reading), tiles, 2 * tiling.pixels);
    T *shares = add_shares_of(call.pointwise_gradient, int64_t(s.groups) * s.outputs * s.inputs(), of.count);
    const OuterPart<S> part{call, tiling, of, shares};
    outer_[int(reading)].add(part, part.num_blocks(),
                                      outer_shared_elements<T>(tiling, s.kernel * s.kernel) * sizeof(T));
  }

  void add_taps(const CudaBackward<S> &call, const T *middle_gradient) {
    if (!call.depthwise_gradient) {
      return;
    }
    const CudaShape &s = call.shape;
    const bool pairs = sizeof(T) == sizeof(float) && s.kernel <= kMostPairedKernel && s.channels % 2 == 0 &&
                       s.inputs() % 2 == 0 && cuda::fits_vectors<2>(call.x, s.channels);
    const Reading reading = pairs ? vector_reading_of<S>(s) : Reading::kSingle;
    const auto tiling = CudaTiling::of(s.middle / (pairs ? 2 : 1), cuda::kWarp);
    const Chunks of = chunks(out_places(s, reading), tiling.tiles, 4 * tiling.rows);
    T *shares = add_shares_of(call.depthwise_gradient, int64_t(s.middle) * s.kernel * s.kernel, of.count);
    taps_[int(reading)].add({call, tiling, of, middle_gradient, shares}, int64_t(tiling.tiles) * of.count, 0);
  }

  // Whether a call before that at `index` has its input.
  static bool shares_input(const CudaBackward<S> *calls, int index) {
    for (int other = 0; other < index; ++other) {
      if (calls[other].x_gradient == calls[index].x_gradient) {
        return true;
      }
    }
    return false;
  }

  // The input of the call at `first`, and of those behind it that share it.
  void add_input(const CudaBackward<S> *calls, int num_calls, int first, T *const *middle_gradients) {
    const CudaBackward<S> &call = calls[first];
    if (!call.x_gradient) {
      return;
    }
    const CudaShape &s = call.shape;
    InputPart<S> part{call, 0};
    // As all of them can be read.
    Reading reading = Reading::kAdjacent;
    for (int index = first; index < num_calls; ++index) {
      if (calls[index].x_gradient == call.x_gradient) {
        part.terms[part.num_terms++] = {calls[index].shape, calls[index].depthwise, middle_gradients[index]};
        const Reading own = reading_of(calls[index]);
        reading = own < reading ? own : reading;
      }
    }
    const int vector = reading == Reading::kSingle ? 1 : kChannels;
    // The weights of a tile's channels fit into shared memory.
    const int64_t of_vector = int64_t(part.taps()) * vector * sizeof(T), fitting = 48 * 1024 / of_vector;
    part.tiling = CudaTiling::of(s.channels / vector, fitting < 1 ? 1 : fitting > 64 ? 64 : int(fitting));
    part.chunks = chunks(num_places(s.images, s.height, s.width, reading), part.tiling.tiles, part.tiling.rows);
    part.norm_shares = call.norm_sums ? add_shares_of(call.norm_sums, 2 * s.channels, part.chunks.count) : nullptr;
    const int64_t weights = of_vector * part.tiling.width, sums = int64_t(2) * vector * kCudaThreads * sizeof(T);
    input_[int(reading)].add(part, int64_t(part.tiling.tiles) * part.chunks.count, weights > sums ? weights : sums);
  }

  cuda::Parts workspace_;
  MiddleBatch<S> middle_[2]; // without and with vectors
  OuterBatch<S> outer_[kReadings];
  InputBatch<S> input_[kReadings];
  TapsBatch<S> taps_[kReadings];
  SharesBatch<T> shares_;
};

} // namespace pdarts::separable
