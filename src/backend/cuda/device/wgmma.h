// Products of a warpgroup: wgmma.mma_async, D[64, N] (+)= A[64, K] . B[N, K]^T with both operands in shared
// memory, K one step of 32 bytes.
//
// Operands lie as TMA writes them with the 128-byte swizzle: rows of 128 bytes, eight rows an atom of 1,024
// bytes, atoms at multiples of 1,024. Thread t of the warpgroup, warp w = t / 32, lane = 4 g + c, holds D's
// rows 16 w + g and 16 w + g + 8, columns 8 j + 2 c and + 1, as d[4 j], d[4 j + 1] (first row), d[4 j + 2],
// d[4 j + 3].
#pragma once

#include <cstdint>

namespace octet::cuda {

// Element types of the operands, with the type of their sums.
struct E4M3 {
  using Sum = float;
  static constexpr int kBytes = 1;
};
struct S8 {
  using Sum = int32_t;
  static constexpr int kBytes = 1;
};
struct BF16 {
  using Sum = float;
  static constexpr int kBytes = 2;
};
struct F16 {
  using Sum = float;
  static constexpr int kBytes = 2;
};

// The descriptor of an operand tile at `shared`; + 2 for each 32 bytes along k.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t shared) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kAtomStride = uint64_t{1024 >> 4} << 32;  // from eight rows to the next eight
  constexpr uint64_t kLeading = uint64_t{1} << 16;             // not used by swizzled layouts
  return kSwizzle128 | kAtomStride | kLeading | ((shared & 0x3ffff) >> 4);
}

// Before a warpgroup's first product, and after registers of its sums were written by other instructions.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until at most kPending committed groups are under way.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of the sums across a wait.
template <class Sum, int kCount>
__device__ __forceinline__ void wgmma_pin(Sum (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if constexpr (sizeof(Sum) == 4 && __is_same(Sum, float)) {
      asm volatile("" : "+f"(d[i])::"memory");
    } else {
      asm volatile("" : "+r"(d[i])::"memory");
    }
  }
}

// Register budgets of a warpgroup, between the roles of one CTA.
template <int kRegisters>
__device__ __forceinline__ void set_register_limit_up() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void set_register_limit_down() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Wgmma<Type, N>::run(d, a, b, accumulate): d += or, where accumulate is 0, d = the product of one step of k.
template <class Type, int kN>
struct Wgmma;
// The same with A, 16 rows a warp, in four registers a thread (fragments of mma.m16n8k16), and B [K, N], its
// rows k.
template <class Type, int kN>
struct WgmmaColumns;

// clang-format off
#define OCTET_D4 "%0, %1, %2, %3"
#define OCTET_D8 OCTET_D4 ", %4, %5, %6, %7"
#define OCTET_D16 OCTET_D8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define OCTET_D32 OCTET_D16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define OCTET_D64 OCTET_D32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define OCTET_D96 OCTET_D64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define OCTET_D112 OCTET_D96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define OCTET_D128 OCTET_D112 ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define OCTET_O4(c, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3])
#define OCTET_O8(c, i) OCTET_O4(c, i), OCTET_O4(c, i + 4)
#define OCTET_O16(c, i) OCTET_O8(c, i), OCTET_O8(c, i + 8)
#define OCTET_O32(c, i) OCTET_O16(c, i), OCTET_O16(c, i + 16)
#define OCTET_O64(c, i) OCTET_O32(c, i), OCTET_O32(c, i + 32)
#define OCTET_O96(c, i) OCTET_O64(c, i), OCTET_O32(c, i + 64)
#define OCTET_O112(c, i) OCTET_O96(c, i), OCTET_O16(c, i + 96)
#define OCTET_O128(c, i) OCTET_O64(c, i), OCTET_O64(c, i + 64)

// Count: sums a thread holds. A, B, P: the numbers of the operands that follow them.
#define OCTET_WGMMA(Type, N, Count, A, B, P, Shape, Constraint, Tail)                                   \
  template <>                                                                                           \
  struct Wgmma<Type, N> {                                                                               \
    static __device__ __forceinline__ void run(Type::Sum (&d)[Count], uint64_t a, uint64_t b,           \
                                               int32_t accumulate) {                                    \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #P ", 0;\n"                                     \
                   "wgmma.mma_async.sync.aligned.m64n" #N Shape " {" OCTET_D##Count "}, %" #A ", %" #B \
                   ", p" Tail ";\n}\n"                                                                  \
                   : OCTET_O##Count(Constraint, 0)                                                      \
                   : "l"(a), "l"(b), "r"(accumulate));                                                  \
    }                                                                                                   \
  };
#define OCTET_WGMMA_TYPE(Type, Shape, Constraint, Tail)                  \
  OCTET_WGMMA(Type, 8, 4, 4, 5, 6, Shape, Constraint, Tail)              \
  OCTET_WGMMA(Type, 16, 8, 8, 9, 10, Shape, Constraint, Tail)            \
  OCTET_WGMMA(Type, 32, 16, 16, 17, 18, Shape, Constraint, Tail)         \
  OCTET_WGMMA(Type, 64, 32, 32, 33, 34, Shape, Constraint, Tail)         \
  OCTET_WGMMA(Type, 128, 64, 64, 65, 66, Shape, Constraint, Tail)        \
  OCTET_WGMMA(Type, 192, 96, 96, 97, 98, Shape, Constraint, Tail)        \
  OCTET_WGMMA(Type, 224, 112, 112, 113, 114, Shape, Constraint, Tail)    \
  OCTET_WGMMA(Type, 256, 128, 128, 129, 130, Shape, Constraint, Tail)

OCTET_WGMMA_TYPE(E4M3, "k32.f32.e4m3.e4m3", "+f", ", 1, 1")
OCTET_WGMMA_TYPE(S8, "k32.s32.s8.s8", "+r", "")
OCTET_WGMMA_TYPE(BF16, "k16.f32.bf16.bf16", "+f", ", 1, 1, 0, 0")
OCTET_WGMMA_TYPE(F16, "k16.f32.f16.f16", "+f", ", 1, 1, 0, 0")

// A: the numbers of its four registers.
#define OCTET_WGMMA_COLUMNS(Type, N, Count, A, B, P, Shape)                                             \
  template <>                                                                                           \
  struct WgmmaColumns<Type, N> {                                                                        \
    static __device__ __forceinline__ void run(float (&d)[Count], const uint32_t* a, uint64_t b,        \
                                               int32_t accumulate) {                                    \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #P ", 0;\n"                                     \
                   "wgmma.mma_async.sync.aligned.m64n" #N Shape " {" OCTET_D##Count "}, {" A "}, %" #B  \
                   ", p, 1, 1, 1;\n}\n"                                                                \
                   : OCTET_O##Count("+f", 0)                                                            \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));              \
    }                                                                                                   \
  };
#define OCTET_WGMMA_COLUMNS_TYPE(Type, Shape)                                          \
  OCTET_WGMMA_COLUMNS(Type, 64, 32, "%32, %33, %34, %35", 36, 37, Shape)               \
  OCTET_WGMMA_COLUMNS(Type, 128, 64, "%64, %65, %66, %67", 68, 69, Shape)

OCTET_WGMMA_COLUMNS_TYPE(BF16, "k16.f32.bf16.bf16")
OCTET_WGMMA_COLUMNS_TYPE(F16, "k16.f32.f16.f16")

#undef OCTET_WGMMA_COLUMNS_TYPE
#undef OCTET_WGMMA_COLUMNS
#undef OCTET_WGMMA_TYPE
#undef OCTET_WGMMA
#undef OCTET_O128
#undef OCTET_O112
#undef OCTET_O96
#undef OCTET_O64
#undef OCTET_O32
#undef OCTET_O16
#undef OCTET_O8
#undef OCTET_O4
#undef OCTET_D128
#undef OCTET_D112
#undef OCTET_D96
#undef OCTET_D64
#undef OCTET_D32
#undef OCTET_D16
#undef OCTET_D8
#undef OCTET_D4
// clang-format on

}  // namespace octet::cuda
