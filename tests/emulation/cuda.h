// An emulation of as much of CUDA as the GPU kernels use, for tests on machines without a GPU: blocks one after the other, the
// threads of a block as fibers that take turns at barriers and shuffles. One thread runs at a time, so a race shows as a wrong
// result only in some orders: every other block runs its threads backwards. Shared memory begins as values that are not numbers
// in every block.
//
// Include it before a .cu file: `c++ -x c++ -include tests/emulation/cuda.h`.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <vector>

#include <setjmp.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__
#define __grid_constant__
#define __align__(bytes) alignas(bytes)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulation {

constexpr size_t kStackBytes = 64 * 1024;

// A context is entered once; from then on jumps do, which ask nothing of the operating system.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  bool entered;
  std::vector<char> stack;
  dim3 thread;
  bool done = false;
};

inline jmp_buf scheduler;
inline std::vector<Fiber> fibers;
inline Fiber *current;
inline std::function<void()> body;
inline std::vector<uint64_t> dynamic_shared;
inline dim3 grid, block_size, block_at;
inline uint64_t num_blocks; // begun so far
inline bool backwards; // in which order the threads of this block take turns
inline uint64_t exchange[1024];
inline std::mutex in_use;

inline void yield() {
  if (!_setjmp(current->place)) {
    _longjmp(scheduler, 1);
  }
}

inline void entry() {
  body();
  current->done = true;
  yield();
}

inline unsigned flat() {
  return current->thread.x + block_size.x * (current->thread.y + block_size.y * current->thread.z);
}

// Until the current fiber yields.
inline void resume() {
  if (_setjmp(scheduler)) {
    return;
  }
  if (current->entered) {
    _longjmp(current->place, 1);
  }
  current->entered = true;
  setcontext(&current->context);
}

// Every thread runs to its next barrier before any goes on.
inline void run_block() {
  const unsigned threads = block_size.x * block_size.y * block_size.z;
  if (fibers.size() < threads) {
    fibers.resize(threads);
  }
  for (unsigned index = 0; index < threads; ++index) {
    Fiber &fiber = fibers[index];
    fiber.thread = dim3(index % block_size.x, index / block_size.x % block_size.y, index / block_size.x / block_size.y);
    fiber.done = fiber.entered = false;
    fiber.stack.resize(kStackBytes);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
  }
  for (bool alive = true; alive;) {
    alive = false;
    for (unsigned turn = 0; turn < threads; ++turn) {
      Fiber &fiber = fibers[backwards ? threads - 1 - turn : turn];
      if (fiber.done) {
        continue;
      }
      alive = true;
      current = &fiber;
      resume();
    }
  }
}

template <typename Kernel, typename... Arguments>
void launch(Kernel kernel, dim3 blocks, dim3 threads, size_t shared_bytes, void *, Arguments... arguments) {
  if (threads.x * threads.y * threads.z > 1024 || threads.x * threads.y * threads.z == 0 || blocks.y > 65535 ||
      blocks.z > 65535 || blocks.x * blocks.y * blocks.z == 0 || shared_bytes > 227 * 1024) {
    fprintf(stderr, "emulated CUDA: no GPU takes %u x %u x %u blocks of %u x %u x %u threads with %zu bytes\n", blocks.x, blocks.y,
            blocks.z, threads.x, threads.y, threads.z, shared_bytes);
    abort();
  }
  // All threads of a process share the one emulated GPU.
  const std::lock_guard lock(in_use);
  grid = blocks, block_size = threads;
  body = [=] { kernel(arguments...); };
  for (unsigned z = 0; z < blocks.z; ++z) {
    for (unsigned y = 0; y < blocks.y; ++y) {
      for (unsigned x = 0; x < blocks.x; ++x) {
        dynamic_shared.assign(shared_bytes / sizeof(uint64_t) + 4, ~uint64_t(0));
        block_at = dim3(x, y, z);
        ++num_blocks;
        backwards = !backwards;
        run_block();
      }
    }
  }
}

// Memory of the block that runs, one at a time.
template <typename T, size_t count> struct Shared {
  T values[count];
  uint64_t block = 0;

  // The first thread of a block that comes here finds it, and so do all others, without a number.
  T *begin() {
    if (block != num_blocks) {
      block = num_blocks;
      memset(values, 0xff, sizeof(values));
    }
    return values;
  }
};

template <typename T> T shuffle(T value, unsigned lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  const unsigned own = flat(), from = own / 32 * 32 + lane % 32;
  memcpy(&exchange[own], &value, sizeof(T));
  yield();
  T result;
  memcpy(&result, &exchange[from], sizeof(T));
  yield();
  return result;
}

} // namespace emulation

#define threadIdx (emulation::current->thread)
#define blockIdx (emulation::block_at)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid)

inline void __syncthreads() { emulation::yield(); }
inline void __syncwarp(unsigned = ~0u) { emulation::yield(); }
template <typename T> T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulation::shuffle(value, (emulation::flat() % 32) ^ mask);
}
template <typename T> T __shfl_down_sync(unsigned, T value, unsigned delta) {
  const unsigned lane = emulation::flat() % 32;
  return emulation::shuffle(value, lane + delta < 32 ? lane + delta : lane);
}
template <typename T> T __shfl_sync(unsigned, T value, int lane) { return emulation::shuffle(value, unsigned(lane)); }
template <typename T> T __ldg(const T *address) { return *address; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float rsqrtf(float value) { return 1 / std::sqrt(value); }

#define PDARTS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                  \
  emulation::launch((kernel), grid, block, shared_bytes, stream, __VA_ARGS__)
#define PDARTS_SHARED(type, name, count)                                                                               \
  static emulation::Shared<type, (count)> name##_of_block;                                                             \
  type *name = name##_of_block.begin()
#define PDARTS_DYNAMIC_SHARED(type, name)                                                                              \
  type *name = reinterpret_cast<type *>(reinterpret_cast<uintptr_t>(emulation::dynamic_shared.data() + 3) / 32 * 32)
#define PDARTS_ALLOW_SHARED(kernel, bytes) ((void)(kernel))
