// What one instruction set gives for one pair of operand types: the shape of its register tile and the five
// functions that the driver (linear.cc) calls. The files gemm_<types>_<isa>.cc hold the kernels.
//
//   d[m, n] = sum over k of a[m, k] * w[n, k]
//
// Weights lie in panels of `nr` columns (n), k innermost by groups of `k_group`, cut along k into blocks, so
// that a thread reads them as one stream:
//
//   [k block][panel][k / k_group][nr][k_group]      one (k block, panel) is a *slice*; zeros fill the edges
//
// Codes of 4 bits lie there by pairs of k, [k block][panel][k / 2][nr], the even one in the low bits of a
// byte.
//
// A thread takes a block of rows and a run of panels. For each k block it brings the rows into the form of
// the tile (load_a), then slice after slice into the tile's form where that is wider than the stored one
// (expand_b), and runs tiles of up to `mr` rows over it. A slice stays in the first-level cache, the block of
// rows in the second. Between k blocks the raw sums wait in d itself, so nothing else is allocated.
//
// One element of d is summed in the same order, by the same instructions, whatever the rows around it: tiles
// of every height walk k one group after the other, with one accumulator an element.
//
// The kernel files are compiled for their instruction set and so must not instantiate inline functions that
// others share (the linker might keep theirs): they use intrinsics and their own functions only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backend/cpu/isa.h"
#include "tensor/quant_scheme.h"

#if defined(__clang__)
#define OCTET_UNROLL _Pragma("clang loop unroll(full)")
#else
#define OCTET_UNROLL _Pragma("GCC unroll 16")
#endif

// Keeps a value in its register. Compilers like to read a weight from memory again in every instruction that
// multiplies it, more often than the load ports allow, and to reassociate integer sums, for which there are
// no registers.
#define OCTET_IN_REGISTER(value) __asm__("" : "+v"(value))

namespace octet {

inline constexpr int kMaxTileRows = 8;
inline constexpr int kMaxTileCols = 64;

// Bounds that the driver's buffers on the stack are made for.
inline constexpr int kRowBlock = 128;  // rows of a block
inline constexpr size_t kMaxRowBytes =
    1152 + 64;  // of one of them in the tile's form: k_block * a_bytes, and a line
inline constexpr size_t kMaxSliceBytes = 32 * 1024;  // of an expanded slice: nr * k_block * b_bytes

// Lines that a tile of the wider kernels fetches a group. Few rows are bound by memory, and alone with a
// slice; the others share the next slice among them.
constexpr int lines_ahead(int rows) {
  return rows <= 4 ? 3 : 2;
}

struct TileArgs {
  const void* a;        // rows of the block, in the tile's form
  size_t a_stride;      // bytes from one row to the next
  const void* b;        // slice in the tile's form
  int64_t groups;       // of k
  void* sums;           // [rows, nr] i32 or f32: written, or added to where `add`
  int64_t sums_stride;  // elements
  bool add;             // this is not the first k block
  const char* next;  // memory that is read after this tile: fetched `next_step` bytes a group ahead of time
  int64_t next_step;
};

// Turns a tile's sums into results:
//   d[i, j] = (sums[i, j] - zero[i] * w_sum[j]) * a_scale[i] * w_scale[j] + bias[j]
// where zero is the input's zero point and whatever load_a added to the codes.
struct FinishArgs {
  const void* sums;       // [rows, nr], may be d
  int64_t sums_stride;    // elements
  int rows, cols;         // cols <= nr
  float* d;               // [rows, d_stride]
  int64_t d_stride;       // elements
  const float* w_scale;   // [nr]
  const float* bias;      // [nr]
  const int32_t* w_sum;   // [nr] sum over k of w; int8 only
  const float* a_scale;   // [rows] where a_scale_step is 1, [1] where it is 0
  const int32_t* a_zero;  // beside a_scale, or null
  int a_scale_step;
};

struct GemmKernel {
  int mr, nr;            // largest tile: rows, columns
  int k_group;           // values of k that lie together
  int k_pad;             // slices are filled with zeros to a multiple of this, itself one of k_group
  int k_block;           // most values of k in a slice; a multiple of k_pad
  int w_bits;            // of a stored weight
  int a_bytes, b_bytes;  // of a value in the tile's form
  // Where the value (column, j) of a group lies in it: order[column * k_group + j]; null: in that place.
  const uint16_t* order;

  // One row of k values to the tile's form, zeros up to a multiple of k_pad; may write up to a line more
  // than the lines that this takes.
  void (*load_a)(const void* row, int64_t k, void* out);
  // A slice of `groups` groups to the tile's form; null where that is the stored form.
  void (*expand_b)(const void* slice, int64_t groups, void* out);
  void (*tile[kMaxTileRows])(const TileArgs&);  // [rows - 1]
  void (*finish)(const FinishArgs&);
};

// One a file pair. Weights and inputs are of one type, or the weights alone have 8 or 4 bits: then the sums
// are those of the inputs' kernels over the codes as numbers (which bf16 holds exactly).
const GemmKernel& int8_kernel_generic();
const GemmKernel& float_kernel_generic(QType weight, QType input);
#if defined(__x86_64__)
const GemmKernel& int8_kernel_avx2();
const GemmKernel& float_kernel_avx2(QType weight, QType input);
const GemmKernel& int8_kernel_avx512();
const GemmKernel& bf16_kernel_avx512(QType weight, QType input);  // inputs bf16 or fp8
const GemmKernel& float_kernel_avx512(QType type);                // f32 and f16
#endif

}  // namespace octet
