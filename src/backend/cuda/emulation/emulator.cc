#include "backend/cuda/emulation/emulator.h"

#include <random>

namespace octet::cuda::emulation {
namespace {

constexpr size_t kStackBytes = 128 * 1024;
constexpr int kMaxThreads = 1024;
constexpr int kPatience = 50;  // rounds in which no thread gets on

struct Fiber {
  void* stack_pointer = nullptr;
  std::vector<uint8_t> stack;
  bool done = true;
  ThreadPlace place;
};
struct Warp {
  uint8_t values[2][32][kLaneBytes];
  int arrived = 0;
  uint64_t turn = 0;
};
struct Barrier {
  uint32_t arrived = 0;
  uint64_t turn = 0;
};

struct Machine {
  std::vector<Fiber> fibers{kMaxThreads};
  Fiber* current = nullptr;
  void* scheduler = nullptr;  // its stack pointer
  const std::function<void()>* body = nullptr;
  BlockPlace place;
  std::vector<Warp> warps{kMaxThreads / 32};
  Barrier barriers[16];
  std::vector<std::function<void()>> pending;
  uint64_t moves = 0;
  unsigned slowness = 3;  // copies take so many rounds of the threads, about
  int held_warp = -1;     // does not run for a while
  unsigned held_rounds = 0;
  std::mt19937 random{1};
};
Machine machine;
alignas(1024) uint8_t shared[kSharedBytes];

// Saves the registers that a call keeps, and goes on where `to` left off.
extern "C" void octet_switch_fiber(void** from, void* to);
asm(R"(
  .text
  .global octet_switch_fiber
octet_switch_fiber:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
)");

void fiber_main() {
  (*machine.body)();
  machine.current->done = true;
  moved();
  octet_switch_fiber(&machine.current->stack_pointer, machine.scheduler);
}

void prepare(Fiber& fiber, int index) {
  fiber.stack.resize(kStackBytes);
  fiber.done = false;
  fiber.place = {dim3(static_cast<unsigned>(index), 0, 0), index};
  auto top = (reinterpret_cast<uintptr_t>(fiber.stack.data()) + kStackBytes) & ~uintptr_t{15};
  auto* stack = reinterpret_cast<uint64_t*>(top);
  *--stack = 0;  // where a return address would stand
  *--stack = reinterpret_cast<uint64_t>(&fiber_main);
  for (int i = 0; i < 6; ++i) *--stack = 0;
  fiber.stack_pointer = stack;
}

void act_late(bool stuck) {
  if (machine.pending.empty() || !(stuck || machine.random() % machine.slowness == 0)) return;
  const size_t i = machine.random() % machine.pending.size();
  const auto action = std::move(machine.pending[i]);
  machine.pending.erase(machine.pending.begin() + static_cast<ptrdiff_t>(i));
  action();
  moved();
}

// Now and then a warp falls behind the others.
void hold_a_warp(int n) {
  if (machine.held_rounds > 0 && --machine.held_rounds > 0) return;
  machine.held_warp = -1;
  if (machine.random() % 100 != 0) return;
  machine.held_warp = static_cast<int>(machine.random() % static_cast<unsigned>((n + 31) / 32));
  machine.held_rounds = machine.random() % 2000;
}

void run_block(int n) {
  constexpr unsigned kSlowness[] = {3, 50, 1000};
  machine.slowness = kSlowness[machine.random() % 3];
  for (Warp& warp : machine.warps) warp.arrived = 0;
  for (Barrier& barrier : machine.barriers) barrier.arrived = 0;
  for (int i = 0; i < n; ++i) prepare(machine.fibers[i], i);
  uint64_t seen = machine.moves;
  for (int idle = 0; idle < kPatience; ++idle) {
    bool alive = false;
    hold_a_warp(n);
    const int start = static_cast<int>(machine.random() % static_cast<unsigned>(n));
    for (int i = 0; i < n; ++i) {
      Fiber& fiber = machine.fibers[(start + i) % n];
      if (fiber.done) continue;
      alive = true;
      if (fiber.place.index / 32 == machine.held_warp) continue;
      machine.current = &fiber;
      octet_switch_fiber(&machine.scheduler, fiber.stack_pointer);
    }
    act_late(machine.moves == seen);
    if (!alive) {
      if (!machine.pending.empty()) fail("a block ended while its copies were under way");
      return;
    }
    if (machine.moves != seen || machine.held_warp >= 0) idle = 0;
    seen = machine.moves;
  }
  fail("no thread of a block gets on");
}

}  // namespace

const ThreadPlace& thread() {
  return machine.current->place;
}
const BlockPlace& block() {
  return machine.place;
}
uint8_t* shared_memory() {
  return shared;
}
void moved() {
  ++machine.moves;
}
void later(std::function<void()> action) {
  machine.pending.push_back(std::move(action));
}

void yield() {
  Fiber* fiber = machine.current;
  octet_switch_fiber(&fiber->stack_pointer, machine.scheduler);
}

void fail(const char* what) {
  std::printf("emulation: %s (block %u, %u; thread %d)\n", what, machine.place.index.x, machine.place.index.y,
              machine.current != nullptr ? machine.current->place.index : -1);
  std::exit(1);
}

void run(dim3 grid, dim3 block, const std::function<void()>& body) {
  if (block.x > kMaxThreads || block.y != 1 || block.z != 1 || grid.z != 1) fail("a launch of another shape");
  machine.body = &body;
  std::memset(shared, 0xff, sizeof shared);
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) {
      machine.place = {dim3(x, y, 0), block, grid};
      run_block(static_cast<int>(block.x));
    }
  }
}

void named_barrier(uint32_t id, uint32_t threads, bool wait) {
  Barrier& barrier = machine.barriers[id];
  const uint64_t turn = barrier.turn;
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    ++barrier.turn;
    moved();
    return;
  }
  while (wait && barrier.turn == turn) yield();
}

void exchange(const void* mine, size_t bytes, uint8_t (&all)[32][kLaneBytes]) {
  Warp& warp = machine.warps[static_cast<size_t>(thread().index / 32)];
  const uint64_t turn = warp.turn;
  std::memcpy(warp.values[turn & 1][lane()], mine, bytes);
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    ++warp.turn;
    moved();
  }
  while (warp.turn == turn) yield();
  std::memcpy(all, warp.values[turn & 1], sizeof all);
}

}  // namespace octet::cuda::emulation

// The few functions of the CUDA runtime that kernels' hosts call: device memory is host memory, a launch is
// over when it returns, the device has five multiprocessors.
extern "C" {
cudaError_t cudaMalloc(void** p, size_t bytes) {
  *p = std::aligned_alloc(1024, (bytes + 1023) / 1024 * 1024);
  return *p != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* p) {
  std::free(p);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* p, int value, size_t bytes) {
  std::memset(p, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t) {
  return "no error";
}
cudaError_t cudaGetDeviceCount(int* n) {
  *n = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 5;
  return cudaSuccess;
}
}
