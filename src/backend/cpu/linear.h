// Linear layers of the CPU backend: d = (a . w^T) * a_scale * w_scale + bias for every scheme that
// check_scheme allows, on the kernels of gemm_kernel.h.
//
//   int8   exact int32 sums for any codes, -128 included; the input's zero point, where it has one, is taken
//          back with the column sums of w; LLM.int8()'s outliers are multiplied apart (linear_outliers.cc)
//   fp8    exact E4M3 values, float sums      bf16, fp16, f32   float sums
//   int8, fp8 or int4 weights alone: exact values, float sums in the 16-bit kernels; each group of columns is
//   summed
//          by itself and scaled
//
// A row's result is bit-equal whatever the other rows and threads (see gemm_kernel.h for why).
#pragma once

#include <memory>

#include "backend/cpu/huge_pages.h"
#include "backend/cpu/isa.h"
#include "backend/ops.h"
#include "base/thread_pool.h"

namespace octet {

// Copies the weight into the panels of its kernel, in `memory`.
// Errors: kUnsupported for a scheme without a kernel, and for int8 with k above 65,536 (where an int32 sum
// could overflow); kResourceExhausted without memory.
Result<std::unique_ptr<PackedLinear>> pack_linear(const LinearWeights& weights, Isa isa, ThreadPool& pool,
                                                  HugePages& memory);

// a [m, k] in w.scheme.input's form, its scale (and zero point) filled in by its producer; d f32 [m, n].
// w comes from pack_linear. Allocates nothing; takes about 200 KiB of each thread's stack.
void linear(const QView& a, const PackedLinear& w, const View& d, ThreadPool& pool);

}  // namespace octet
