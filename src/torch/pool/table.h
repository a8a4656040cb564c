// The table of kernels.h for the instruction set that this file is compiled for.
#pragma once
#include "forward.h"
#include "gradient.h"

namespace pdarts::pool {
namespace {

// Double precision is for checks: there the instances that take any number of channels serve whole blocks too.
template <typename S> constexpr bool kHasWhole = sizeof(Compute<S>) == sizeof(float);

// Calls `run<whole, stride>(block)` with every block of an image, where `whole` says that its channels fill a register.
template <typename S, int stride, int num_ahead, typename Run>
void for_each_block_at(const Shape &s, int64_t image, const RowsAhead (&ahead)[num_ahead], const Run &run) {
  const int64_t num_blocks = divide_up(s.out_width, kPixels) * divide_up(s.channels, kLanes<S>);
  int64_t index = 0;
  for (int64_t column = 0; column < s.out_width; column += kPixels) {
    for (int64_t channel = 0; channel < s.channels; channel += kLanes<S>, ++index) {
      for (const RowsAhead &rows : ahead) {
        rows.fetch_share(index, num_blocks);
      }
      const Block block{image, column, channel, smaller(kLanes<S>, s.channels - channel)};
      if (kHasWhole<S> && block.num_channels == kLanes<S>) {
        run.template operator()<kHasWhole<S>, stride>(block);
      } else {
        run.template operator()<false, stride>(block);
      }
    }
  }
}

template <typename S, int num_ahead, typename Run>
void for_each_block(const Shape &s, int64_t image, const RowsAhead (&ahead)[num_ahead], const Run &run) {
  if (s.stride == 1) {
    for_each_block_at<S, 1>(s, image, ahead, run);
  } else {
    for_each_block_at<S, 2>(s, image, ahead, run);
  }
}

// Fetches the rows of the next tile.
template <typename S, template <typename> class Part>
void forward(const Shape &s, const Tile &tile, const Field<const S> &x, const Field<S> &y, const Field<uint8_t> &taps) {
  const int64_t num_rows = (tile.row_end - tile.row_begin) * s.stride;
  const RowsAhead ahead[] = {{x, tile.image, smaller(tile.row_end * s.stride + 1, s.height), num_rows}};
  for_each_block<S>(s, tile.image, ahead, [&]<bool whole, int stride>(const Block &block) {
    forward_block<S, Part<Compute<S>>, whole, stride>(s, tile, block, x, y, taps);
  });
}

template <typename S>
void max(const Shape &s, const Tile &tile, Field<const S> x, Field<S> y, Field<uint8_t> taps) {
  const auto run = taps.data ? forward<S, FirstMaximum> : forward<S, Maximum>;
  run(s, tile, x, y, taps);
}

template <typename S> void average(const Shape &s, const Tile &tile, Field<const S> x, Field<S> y) {
  forward<S, Average>(s, tile, x, y, {});
}

// Row by row, in the order of memory; fetches the output's row that the next one wants.
template <typename S>
void max_gradient(const Shape &s, const Tile &tile, Field<const uint8_t> taps, Field<const S> y_gradient,
                  Field<S> x_gradient) {
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    const int64_t next = last_window_row(s, row) + 1;
    const RowsAhead ahead[] = {{y_gradient, tile.image, next, 1}, {taps, tile.image, next, 1}};
    for_each_block<S>(s, tile.image, ahead, [&]<bool whole, int stride>(const Block &block) {
      gradient_block<S, whole, stride>(s, block, row, MaximumShares<Compute<S>, stride>(block, taps), y_gradient,
                                       x_gradient);
    });
  }
}

template <typename S>
void average_gradient(const Shape &s, const Tile &tile, Field<const S> y_gradient, Field<S> x_gradient) {
  for (int64_t row = tile.row_begin; row < tile.row_end; ++row) {
    const RowsAhead ahead[] = {{y_gradient, tile.image, last_window_row(s, row) + 1, 1}};
    for_each_block<S>(s, tile.image, ahead, [&]<bool whole, int stride>(const Block &block) {
      gradient_block<S, whole, stride>(s, block, row, AverageShares<Compute<S>, stride>(s, block), y_gradient,
                                       x_gradient);
    });
  }
}

template <typename S>
constexpr Kernels<S> kKernels = {kLanes<S>, max<S>, max_gradient<S>, average<S>, average_gradient<S>};

} // namespace
} // namespace pdarts::pool
