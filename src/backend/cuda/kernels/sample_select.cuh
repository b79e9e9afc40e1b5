// Selection among a row of logits by one block: which tokens make up the k largest, or the shortest prefix of
// the distribution whose mass reaches a share.
//
// Tokens are ordered by rank: (value descending, id ascending), written as one 64-bit number, larger ranks
// first. Masses are fixed-point integers, so that their sums are the same in every order: results do not
// depend on scheduling. A selection counts tokens and mass in bins of the distance from the largest logit
// (one pass over the row), finds the bin where the target is reached, and sorts that bin's tokens in shared
// memory (another pass). Bins with too many tokens (ties, flat rows) are split again and again.
#pragma once

#include <cstdint>

#include "backend/cuda/device/reduce.cuh"

namespace octet::cuda::sampling {

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kBins = 2048, kBinsEach = kBins / kThreads;
constexpr float kBinsPerUnit = 64;  // the last bin begins 32 units (a weight of 1e-14) below the largest
constexpr int kMostCandidates = 2048;

struct Shared {
  uint32_t count[kBins], mass_low[kBins], mass_high[kBins];
  uint64_t candidates[kMostCandidates];
  uint64_t warp_sums[2][kWarps];
  uint64_t segment_sums[kWarps];
  uint32_t n_candidates;
  // What one thread found out for all.
  int32_t bin;
  uint64_t count_before, mass_before, count_through;
  uint64_t lowest, highest;
  int32_t token;
};

// A row; each warp walks its own run of columns, so that sums by warp are sums in the order of ids.
struct Row {
  const float* logits;
  int32_t vocab, segment;  // segment: columns a warp, a multiple of 128
  bool aligned;
  float max, factor;  // weight(v) = exp((v - max) * factor)

  __device__ float weight(float v) const { return __expf((v - max) * factor); }
  __device__ int bin(float v) const {
    const float d = (max - v) * factor * kBinsPerUnit;
    return d < static_cast<float>(kBins - 1) ? static_cast<int>(d) : kBins - 1;
  }
};

// Calls f(value, id) for every column of the row, in parallel; columns of a thread come in ascending order.
template <class F>
__device__ __forceinline__ void for_each(const Row& row, const F& f) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int begin = warp * row.segment, end = min(begin + row.segment, row.vocab);
  if (!row.aligned) {
    for (int c = begin + lane; c < end; c += 32) f(row.logits[c], c);
    return;
  }
  constexpr int kAtOnce = 4, kStep = 128;
  int c = begin + lane * 4;
  for (; c + (kAtOnce - 1) * kStep + 3 < end; c += kAtOnce * kStep) {
    float4 v[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) v[i] = *reinterpret_cast<const float4*>(row.logits + c + i * kStep);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int id = c + i * kStep;
      f(v[i].x, id), f(v[i].y, id + 1), f(v[i].z, id + 2), f(v[i].w, id + 3);
    }
  }
  for (; c < end; c += kStep) {
    if (c + 3 < end) {
      const float4 v = *reinterpret_cast<const float4*>(row.logits + c);
      f(v.x, c), f(v.y, c + 1), f(v.z, c + 2), f(v.w, c + 3);
    } else {
      for (int i = c; i < end; ++i) f(row.logits[i], i);
    }
  }
}

// Larger for what comes first. -0 and 0 are equal.
__device__ __forceinline__ uint64_t rank_of(float v, int32_t id) {
  const uint32_t bits = __float_as_uint(v + 0.0f);
  const uint32_t ordered = bits ^ ((bits & 0x80000000u) != 0 ? 0xffffffffu : 0x80000000u);
  return (uint64_t{ordered} << 32) | (0xffffffffu - static_cast<uint32_t>(id));
}
__device__ __forceinline__ float value_of(uint64_t rank) {
  const auto ordered = static_cast<uint32_t>(rank >> 32);
  return __uint_as_float((ordered & 0x80000000u) != 0 ? ordered ^ 0x80000000u : ~ordered);
}
__device__ __forceinline__ int32_t id_of(uint64_t rank) {
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(rank));
}

// Weights in [0, 1] as integers: for the filters, and for the draw, which wants the rare tokens too.
__device__ __forceinline__ uint32_t filter_mass(float weight) {
  return __float2uint_rn(fminf(weight, 1.0f) * 0x1p31f);
}
__device__ __forceinline__ uint64_t draw_mass(float weight) {
  return __float2ull_rn(fminf(weight, 1.0f) * 0x1p40f);
}

__device__ __forceinline__ void clear_bins(Shared& s) {
  for (int i = threadIdx.x; i < kBins; i += kThreads) s.count[i] = s.mass_low[i] = s.mass_high[i] = 0;
  if (threadIdx.x == 0) s.n_candidates = 0;
  __syncthreads();
}
__device__ __forceinline__ void add_to_bin(Shared& s, int bin, uint32_t mass) {
  atomicAdd(&s.count[bin], 1u);
  const uint32_t before = atomicAdd(&s.mass_low[bin], mass);
  if (before > 0xffffffffu - mass) atomicAdd(&s.mass_high[bin], 1u);
}
__device__ __forceinline__ void add_candidate(Shared& s, uint64_t rank) {
  const uint32_t at = atomicAdd(&s.n_candidates, 1u);
  if (at < kMostCandidates) s.candidates[at] = rank;
}

// The first bin through which the count (or mass) reaches `target`, the last bin where none does; what is
// before it. `share` > 0: the target is that share of the whole mass, `unbinned` included.
__device__ __forceinline__ void find_bin(Shared& s, bool by_mass, uint64_t target, float share,
                                         uint64_t unbinned) {
  __syncthreads();
  const int first = static_cast<int>(threadIdx.x) * kBinsEach;
  uint64_t counts = 0, masses = 0;
#pragma unroll
  for (int i = 0; i < kBinsEach; ++i) {
    counts += s.count[first + i];
    masses += (uint64_t{s.mass_high[first + i]} << 32) + s.mass_low[first + i];
  }
  uint64_t all_counts, all_masses;
  uint64_t count = block_exclusive_sum(counts, s.warp_sums[0], &all_counts);
  uint64_t mass = block_exclusive_sum(masses, s.warp_sums[1], &all_masses);
  if (share > 0) target = static_cast<uint64_t>(double{share} * static_cast<double>(all_masses + unbinned));
  if (target == 0) target = 1;
  const uint64_t reachable = by_mass ? all_masses : all_counts;
  if (target > reachable) target = reachable;
#pragma unroll
  for (int i = 0; i < kBinsEach; ++i) {
    const uint64_t next_count = count + s.count[first + i];
    const uint64_t next_mass = mass + (uint64_t{s.mass_high[first + i]} << 32) + s.mass_low[first + i];
    if ((by_mass ? mass : count) < target && target <= (by_mass ? next_mass : next_count)) {
      s.bin = first + i;
      s.count_before = count;
      s.mass_before = mass;
      s.count_through = next_count;
      s.highest = target;  // where the target is a share, others must know it
    }
    count = next_count;
    mass = next_mass;
  }
  __syncthreads();
}

// The candidates in descending order.
__device__ __forceinline__ void sort_candidates(Shared& s, int n) {
  int size = 2;
  while (size < n) size *= 2;
  for (int i = n + static_cast<int>(threadIdx.x); i < size; i += kThreads) s.candidates[i] = 0;
  __syncthreads();
  for (int width = 2; width <= size; width *= 2) {
    for (int step = width / 2; step > 0; step /= 2) {
      for (int i = threadIdx.x; i < size / 2; i += kThreads) {
        const int low = i / step * 2 * step + i % step, high = low + step;
        const bool descending = (low & width) == 0;
        const uint64_t a = s.candidates[low], b = s.candidates[high];
        if ((a < b) == descending) s.candidates[low] = b, s.candidates[high] = a;
      }
      __syncthreads();
    }
  }
}

// The first position at which the running sum of mass_of(candidate) over the candidates [0, n) exceeds (or,
// with `reach`, reaches) target_of(the whole sum); n - 1 where it never does.
template <class MassOf, class TargetOf>
__device__ __forceinline__ int find_candidate(Shared& s, int n, bool reach, const MassOf& mass_of,
                                              const TargetOf& target_of) {
  constexpr int kEach = kMostCandidates / kThreads;
  uint64_t mass[kEach], sum = 0, all;
  const int first = static_cast<int>(threadIdx.x) * kEach;
#pragma unroll
  for (int i = 0; i < kEach; ++i) sum += mass[i] = first + i < n ? mass_of(s.candidates[first + i]) : 0;
  if (threadIdx.x == 0) s.token = n - 1;
  uint64_t running = block_exclusive_sum(sum, s.warp_sums[0], &all);
  const uint64_t target = target_of(all);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const uint64_t next = running + mass[i];
    const bool found = reach ? running < target && target <= next : running <= target && target < next;
    if (found && first + i < n) s.token = first + i;
    running = next;
  }
  __syncthreads();
  const int result = s.token;
  __syncthreads();
  return result;
}

struct Selection {
  uint64_t cut = 0;   // what is kept: ranks of at least this
  int n_sorted = -1;  // >= 0: so many of the first ranks stand in `candidates`, sorted, and all that is kept
                      // is among them
};

// Within the ranks of at least `floor`: the first `target` tokens, or (by_mass) the shortest prefix with the
// share of mass. below: a weight under which tokens cannot be part of it; 0: none.
__device__ inline Selection select(Shared& s, const Row& row, bool by_mass, uint64_t target, float share,
                                   uint64_t floor, float below) {
  clear_bins(s);
  uint64_t unbinned = 0;
  for_each(row, [&](float v, int id) {
    if (floor != 0 && rank_of(v, id) < floor) return;
    const float w = row.weight(v);
    if (w < below) {
      unbinned += filter_mass(w);
    } else {
      add_to_bin(s, row.bin(v), filter_mass(w));
    }
  });
  unbinned = block_reduce<Sum>(unbinned, s.segment_sums, uint64_t{0});
  find_bin(s, by_mass, target, share, unbinned);
  target = s.highest;
  const int bin = s.bin;
  const uint64_t before = by_mass ? s.mass_before : s.count_before, count_before = s.count_before;
  const uint64_t through = s.count_through;
  const auto mass_of = [&](uint64_t rank) {
    return by_mass ? uint64_t{filter_mass(row.weight(value_of(rank)))} : 1;
  };

  if (through <= kMostCandidates) {
    for_each(row, [&](float v, int id) {
      if (row.bin(v) > bin || (floor != 0 && rank_of(v, id) < floor) || row.weight(v) < below) return;
      add_candidate(s, rank_of(v, id));
    });
    __syncthreads();
    const int n = static_cast<int>(s.n_candidates);
    sort_candidates(s, n);
    const int last = find_candidate(s, n, true, mass_of, [&](uint64_t) { return target; });
    return {s.candidates[last], n};
  }

  // The ranks [lowest, highest] of the bin, split until few enough are left.
  uint64_t lowest = ~uint64_t{0}, highest = 0;
  for_each(row, [&](float v, int id) {
    const uint64_t rank = rank_of(v, id);
    if (row.bin(v) != bin || rank < floor || row.weight(v) < below) return;
    lowest = min(lowest, rank);
    highest = max(highest, rank);
  });
  __syncthreads();
  highest = block_reduce<Max>(highest, s.warp_sums[0], uint64_t{0});
  lowest = ~block_reduce<Max>(~lowest, s.warp_sums[1], uint64_t{0});
  uint64_t reached = before, population = through - count_before;
  while (population > kMostCandidates) {
    const int bits = 64 - __clzll(static_cast<long long>(highest - lowest));
    const int shift = bits > 11 ? bits - 11 : 0;
    clear_bins(s);
    for_each(row, [&](float v, int id) {
      const uint64_t rank = rank_of(v, id);
      if (rank < lowest || rank > highest || row.bin(v) != bin || row.weight(v) < below) return;
      add_to_bin(s, static_cast<int>((highest - rank) >> shift), filter_mass(row.weight(v)));
    });
    find_bin(s, by_mass, target - reached, 0, 0);
    reached += by_mass ? s.mass_before : s.count_before;
    population = s.count_through - s.count_before;
    const uint64_t top = highest - (static_cast<uint64_t>(s.bin) << shift);
    lowest = max(lowest, top - ((uint64_t{1} << shift) - 1));
    highest = top;
  }
  clear_bins(s);
  for_each(row, [&](float v, int id) {
    const uint64_t rank = rank_of(v, id);
    if (rank < lowest || rank > highest || row.bin(v) != bin || row.weight(v) < below) return;
    add_candidate(s, rank);
  });
  __syncthreads();
  const int n = static_cast<int>(s.n_candidates);
  sort_candidates(s, n);
  const int last = find_candidate(s, n, true, mass_of, [&](uint64_t) { return target - reached; });
  return {s.candidates[last], -1};
}

}  // namespace octet::cuda::sampling
