// The memory that a call of kernels works in.
#pragma once
#include "language.h"

namespace pdarts::cuda {

// Cuts parts off a workspace, one behind the other, each where any vector of four may begin. Of a workspace that is null it tells how many
// bytes they take.
class Parts {
public:
  explicit Parts(void *workspace) : begin_(static_cast<char *>(workspace)), end_(begin_) {}

  // `part` becomes an array of `count`.
  template <typename Part> void cut(Part *&part, int64_t count) {
    constexpr int64_t kAlignment = 32;
    part = reinterpret_cast<Part *>(end_);
    end_ += (count * int64_t(sizeof(Part)) + kAlignment - 1) / kAlignment * kAlignment;
  }

  int64_t bytes() const { return end_ - begin_; }

private:
  char *const begin_, *end_;
};

} // namespace pdarts::cuda
