// Products alone on a GPU: every tile of every type against sums in double (integers exactly), then the table
// of Llama-3.1-8B's shapes.
//
//   octet_gemm_check check [stream|tile|square] [fp8|int8|bf16|fp16]...    every plan over ragged shapes
//   octet_gemm_check error    how FP8 sums accumulate, and whether tiles agree in every bit
//   octet_gemm_check time OUT.json MAX_M [TYPE]... [promote]    the table; all measurements as JSON
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/gemm_tuning.h"

namespace octet::cuda {
namespace {

void succeed(cudaError_t e, const std::string& what) {
  if (e == cudaSuccess) return;
  std::printf("%s: %s\n", what.c_str(), cudaGetErrorString(e));
  std::exit(1);
}

template <class T>
struct Array {
  T* data = nullptr;
  size_t size;
  explicit Array(size_t n) : size(n) { succeed(cudaMalloc(&data, n * sizeof(T)), "cudaMalloc"); }
  Array(const Array&) = delete;
  ~Array() { cudaFree(data); }
};

__device__ float noise(uint64_t i, uint32_t seed) {
  uint64_t h = (i + 1) * 0x9e3779b97f4a7c15ull + seed * 0xbf58476d1ce4e5b9ull;
  h ^= h >> 31;
  h *= 0x94d049bb133111ebull;
  h ^= h >> 29;
  return (static_cast<float>(h & 0xffffff) + static_cast<float>(h >> 40)) * 0x1p-24f - 1.0f;
}

__global__ void fill(uint8_t* data, QType type, size_t n, uint32_t seed) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x) {
    const float u = noise(i, seed);
    if (type == QType::kInt8) data[i] = static_cast<uint8_t>(static_cast<int8_t>(u * 127));
    if (type == QType::kFp8) reinterpret_cast<__nv_fp8_e4m3*>(data)[i] = __nv_fp8_e4m3(u * 200);
    if (type == QType::kBF16) reinterpret_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(u);
    if (type == QType::kF16) reinterpret_cast<__half*>(data)[i] = __float2half_rn(u);
  }
}
__global__ void fill_floats(float* data, size_t n, uint32_t seed, float low, float span) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x)
    data[i] = low + span * (0.5f + 0.5f * noise(i, seed));
}

__device__ double decode(const uint8_t* data, QType type, size_t i) {
  if (type == QType::kInt8) return reinterpret_cast<const int8_t*>(data)[i];
  if (type == QType::kFp8) return static_cast<float>(reinterpret_cast<const __nv_fp8_e4m3*>(data)[i]);
  if (type == QType::kBF16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(data)[i]);
  return __half2float(reinterpret_cast<const __half*>(data)[i]);
}

struct Case {
  QType type;
  int64_t m, n, k, a_stride, w_stride;
  const uint8_t *a, *w;
  const float *a_scale, *w_scale, *bias;  // or null
  int a_step;
  const int32_t *zero, *sums;  // or null
  bool promoted;
};

struct Outcome {
  unsigned long long wrong;
  unsigned long long first;   // row * n + column of a wrong one
  double squares, reference;  // of the error, of the value
};

// A warp a result: the sum in double, its bound, and what the kernel gave. `every`: rows are sampled, from
// the last one on.
__global__ void compare(Case c, const void* d, bool f32, int64_t every, Outcome* outcome) {
  const int lane = threadIdx.x % 32;
  const int64_t column = blockIdx.x * int64_t{blockDim.x / 32} + threadIdx.x / 32;
  if (column >= c.n) return;
  for (int64_t row = c.m - 1 - blockIdx.y * every; row >= 0; row -= gridDim.y * every) {
    double sum = 0, magnitude = 0, squares = 0;
    for (int64_t i = lane; i < c.k; i += 32) {
      const double p =
          decode(c.a, c.type, row * c.a_stride + i) * decode(c.w, c.type, column * c.w_stride + i);
      sum += p;
      magnitude += fabs(p);
      squares += p * p;
    }
    for (int o = 16; o > 0; o /= 2) {
      sum += __shfl_xor_sync(~0u, sum, o);
      magnitude += __shfl_xor_sync(~0u, magnitude, o);
      squares += __shfl_xor_sync(~0u, squares, o);
    }
    if (lane != 0) continue;
    const float a_scale = c.a_scale == nullptr ? 1 : c.a_scale[row * c.a_step];
    const float w_scale = c.w_scale == nullptr ? 1 : c.w_scale[column];
    const float bias = c.bias == nullptr ? 0 : c.bias[column];
    const float got = f32 ? static_cast<const float*>(d)[row * c.n + column]
                          : __bfloat162float(static_cast<const __nv_bfloat16*>(d)[row * c.n + column]);
    bool right;
    double value;
    if (c.type == QType::kInt8) {  // exactly: the sum, then one rounding a step
      int32_t exact = static_cast<int32_t>(sum);
      if (c.zero != nullptr) exact -= c.zero[row * c.a_step] * c.sums[column];
      float v = __fmul_rn(static_cast<float>(exact), a_scale);
      if (c.w_scale != nullptr) v = __fmul_rn(v, w_scale);
      if (c.bias != nullptr) v = __fadd_rn(v, bias);
      if (!f32) v = __bfloat162float(__float2bfloat16_rn(v));
      right = v == got;
      value = v;
    } else {
      // In each step of 32 (fp8) the tensor core aligns products and sum to the largest of them and cuts what
      // lies below 2^-13 of it; sums of products of both signs stay within some deviations of 0. Promoted,
      // there are four steps. 16 bit: about 2^-23 of the magnitude a step.
      const double steps = c.promoted ? 4 : static_cast<double>(c.k / 32 + 1);
      const double loss = c.type == QType::kFp8 ? steps * 0x1p-13 * (6 * sqrt(squares) + 16 * magnitude / c.k)
                                                : 0x1p-20 * magnitude;
      value = sum * a_scale * w_scale + bias;
      const double bound = loss * a_scale * w_scale + fabs(value) * (f32 ? 0x1p-21 : 0x1p-8) + 1e-30;
      right = fabs(got - value) <= bound;
      atomicAdd(&outcome->squares, (got - value) * (got - value));
      atomicAdd(&outcome->reference, value * value);
    }
    if (!right) {
      if (atomicAdd(&outcome->wrong, 1ull) == 0) outcome->first = row * c.n + column;
    }
  }
}

constexpr int64_t kMoreRows = 255;  // behind the tokens, see QView::rows_there

// Operands and results of one shape.
struct Product {
  QType type;
  int64_t m, n, k, stride;
  Array<uint8_t> a, w;
  Array<float> a_scale, w_scale, bias;
  Array<int32_t> zero, sums;
  Array<float> d;
  Array<Outcome> outcome;
  GemmWeights weights;
  bool scaled;

  Product(QType t, int64_t m_, int64_t n_, int64_t k_, int64_t gap, bool with_bias, bool with_zero)
      : type(t),
        m(m_),
        n(n_),
        k(k_),
        stride((k_ * static_cast<int64_t>(qtype_bytes(t)) + 15) / 16 * 16 /
                   static_cast<int64_t>(qtype_bytes(t)) +
               gap),
        a((m + kMoreRows) * stride * qtype_bytes(t) + 16),
        w(n * stride * qtype_bytes(t) + 16),
        a_scale(m),
        w_scale(n),
        bias(n),
        zero(m),
        sums(n),
        d(m * n),
        outcome(1),
        scaled(t == QType::kFp8 || t == QType::kInt8) {
    succeed(cudaMemset(a.data, 0xff, a.size), "rows that are there for nothing");  // not a number
    fill<<<256, 256>>>(a.data, t, m * stride, 1);
    fill<<<1024, 256>>>(w.data, t, n * stride, 2);
    fill_floats<<<64, 256>>>(a_scale.data, m, 3, 0.5f, 1);
    fill_floats<<<64, 256>>>(w_scale.data, n, 4, 0.01f, 0.01f);
    fill_floats<<<64, 256>>>(bias.data, n, 5, -1, 2);
    const std::vector<int32_t> zeros(m, -37);
    succeed(cudaMemcpy(zero.data, zeros.data(), m * 4, cudaMemcpyHostToDevice), "zero points");
    if (with_zero) column_sums(reinterpret_cast<int8_t*>(w.data), n, k, stride, sums.data, nullptr);
    weights = {t,
               n,
               k,
               w.data,
               stride * static_cast<int64_t>(qtype_bytes(t)),
               scaled ? w_scale.data : nullptr,
               with_bias ? bias.data : nullptr,
               with_zero ? sums.data : nullptr};
    const Status described = describe_gemm_weights(weights);
    if (!described.ok()) {
      std::printf("%s\n", described.message().c_str());
      std::exit(1);
    }
  }

  // `more`: rows behind those of the product may be read. `parts`: in two products.
  void run(const GemmPlan& plan, bool f32, bool per_token, bool with_zero, bool more = false,
           bool parts = false) {
    QView view{a.data, {type, scaled ? (per_token ? QScale::kToken : QScale::kTensor) : QScale::kNone},
               m,      k,
               stride, scaled ? a_scale.data : nullptr};
    view.args.symmetric = !with_zero;
    view.rows_there = more ? m + kMoreRows : 0;
    view.zero_point = with_zero ? zero.data : nullptr;
    succeed(cudaMemset(d.data, 0xff, m * n * 4), "poison");
    const GemmResults results(View{d.data, f32 ? DType::kF32 : DType::kBF16, m, n, n});
    const int64_t first = parts ? m / 2 + 1 : m;
    gemm(view.head(first), weights, results, plan, nullptr);
    gemm(view.tail(first), weights, results.tail(first), plan, nullptr);
    const std::string what =
        to_string(plan) + " " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
    succeed(cudaGetLastError(), what);
    succeed(cudaDeviceSynchronize(), what);
  }

  Outcome check(bool f32, bool per_token, bool with_bias, bool with_zero, int64_t every, bool promoted) {
    const Case c{type,
                 m,
                 n,
                 k,
                 stride,
                 stride,
                 a.data,
                 w.data,
                 scaled ? a_scale.data : nullptr,
                 scaled ? w_scale.data : nullptr,
                 with_bias ? bias.data : nullptr,
                 per_token ? 1 : 0,
                 with_zero ? zero.data : nullptr,
                 with_zero ? sums.data : nullptr,
                 promoted};
    succeed(cudaMemset(outcome.data, 0, sizeof(Outcome)), "outcome");
    const int64_t rows = std::min<int64_t>((m + every - 1) / every, 4096);
    compare<<<dim3((n + 7) / 8, rows), 256>>>(c, d.data, f32, every, outcome.data);
    Outcome host;
    succeed(cudaMemcpy(&host, outcome.data, sizeof host, cudaMemcpyDeviceToHost), "compare");
    return host;
  }
};

const char* name_of(QType t) {
  return t == QType::kFp8 ? "fp8" : t == QType::kInt8 ? "int8" : t == QType::kBF16 ? "bf16" : "fp16";
}

// All distinct tiles, splits and the ends of the stage counts among the candidates.
std::vector<GemmPlan> plans_to_check(const GemmProblem& p, const std::string& kernel) {
  std::vector<GemmPlan> plans;
  for (const bool promote : {false, true}) {
    if (promote && p.type != QType::kFp8) continue;
    for (const GemmPlan& plan : gemm_candidates({p.type, p.m, p.n, p.k, false, promote}))
      if (to_string(plan).find(kernel) != std::string::npos) plans.push_back(plan);
  }
  return plans;
}

int check_type(QType type, const std::string& kernel) {
  struct {
    int64_t m, n, k, gap;
  } shapes[] = {{1, 192, 576, 0},      {3, 64, 64, 16},       {8, 4096, 4096, 0},   {13, 200, 1000, 0},
                {32, 1536, 576, 0},    {50, 576, 1536, 32},   {64, 4096, 4096, 0},  {100, 100, 400, 0},
                {128, 4096, 1024, 0},  {200, 1000, 2064, 0},  {256, 6144, 4096, 0}, {300, 777, 1100, 0},
                {1000, 520, 640, 0},   {2048, 4096, 1024, 0}, {5, 37, 33, 0},       {580, 1160, 640, 0},
                {2052, 4096, 4096, 0}, {150, 300, 640, 0}};
  int failures = 0, runs = 0;
  for (const auto& s : shapes) {
    for (const int form : {0, 1, 2}) {  // plain; bias and f32; one scale (and a zero point)
      const bool f32 = form == 1, bias = form == 1, per_token = form != 2,
                 zero = form == 2 && type == QType::kInt8;
      Product p(type, s.m, s.n, s.k, s.gap, bias, zero);
      for (const GemmPlan& plan : plans_to_check({type, s.m, s.n, s.k}, kernel)) {
        std::fprintf(stderr, "%s %s %ldx%ldx%ld form %d\n", name_of(type), to_string(plan).c_str(), (long)s.m,
                     (long)s.n, (long)s.k, form);
        p.run(plan, f32, per_token, zero, form > 0, form > 0 && s.m > 512);
        const Outcome o = p.check(f32, per_token, bias, zero, s.m > 512 ? 37 : 1, plan.promote);
        ++runs;
        if (o.wrong > 0 && ++failures <= 20) {
          std::printf("WRONG %s %s %ldx%ldx%ld form %d: %llu results, one at row %llu column %llu\n",
                      name_of(type), to_string(plan).c_str(), (long)s.m, (long)s.n, (long)s.k, form, o.wrong,
                      o.first / s.n, o.first % s.n);
        }
      }
    }
  }
  std::printf("check %s: %d products, %d wrong\n", name_of(type), runs, failures);
  return failures > 0;
}

int accumulation_error() {
  Product p(QType::kFp8, 256, 4096, 14336, 0, false, false);
  const GemmPlan plans[] = {{64, 128, 4, 1},
                            {64, 128, 4, 1, true},
                            {64, 128, 4, 4},
                            {64, 64, 4, 1},
                            {64, 256, 2, 1},
                            {128, 128, 6, 1, false, GemmKernel::kTile},
                            {128, 128, 6, 1, false, GemmKernel::kTile, true},
                            {192, 128, 4, 1, false, GemmKernel::kTile},
                            {224, 128, 4, 1, false, GemmKernel::kTile},
                            {256, 128, 4, 1, false, GemmKernel::kTile}};
  for (const GemmPlan& plan : plans) {
    p.run(plan, true, true, false);
    const Outcome o = p.check(true, true, false, false, 1, plan.promote);
    std::printf("fp8 K=14336 %-36s relative error (rms) %.3e, of bf16's own rounding %.2f\n",
                to_string(plan).c_str(), std::sqrt(o.squares / o.reference),
                std::sqrt(o.squares / o.reference) / 1.66e-3);
  }
  for (const QType type : {QType::kFp8, QType::kBF16}) {
    Product q(type, 256, 4096, 4096, 0, false, false);
    std::vector<uint32_t> first, other(q.d.size);
    for (const GemmPlan& plan :
         {GemmPlan{64, 8, 6, 1}, GemmPlan{64, 64, 3, 1}, GemmPlan{64, 256, 4, 1}, GemmPlan{128, 128, 3, 1},
          GemmPlan{64, 8, 6, 2}, GemmPlan{128, 128, 6, 1, false, GemmKernel::kTile, true},
          GemmPlan{192, 128, 4, 1, false, GemmKernel::kTile},
          GemmPlan{224, 128, 4, 1, false, GemmKernel::kTile},
          GemmPlan{128, 128, 6, 1, false, GemmKernel::kTile},
          GemmPlan{256, 128, 4, 1, false, GemmKernel::kTile}}) {
      q.run(plan, true, true, false);
      succeed(cudaMemcpy(other.data(), q.d.data, other.size() * 4, cudaMemcpyDeviceToHost), "results");
      if (first.empty()) first = other;
      size_t differ = 0;
      for (size_t i = 0; i < other.size(); ++i) differ += other[i] != first[i];
      std::printf("bits %s %-30s %zu of %zu differ from 64x8\n", name_of(type), to_string(plan).c_str(),
                  differ, other.size());
    }
  }
  return 0;
}

int time_table(const char* path, const std::vector<int64_t>& tokens, const std::vector<QType>& types,
               bool promote) {
  struct {
    const char* name;
    int64_t n, k;
  } layers[] = {{"qkv", 6144, 4096}, {"o", 4096, 4096}, {"gate_up", 28672, 4096}, {"down", 4096, 14336}};
  std::FILE* file = std::fopen(path, "w");
  if (file == nullptr) {
    std::printf("%s: cannot be written\n", path);
    return 1;
  }
  cudaStream_t stream;
  succeed(cudaStreamCreate(&stream), "stream");
  bool any = false;
  std::fprintf(file, "[");
  for (const QType type : types) {
    GemmPlans plans(false, promote);
    std::vector<GemmTiming> all;
    std::vector<GemmShape> shapes;
    for (const auto& l : layers) shapes.push_back({type, l.n, l.k});
    const Status status = tune_gemms(plans, shapes, tokens, stream, {}, &all);
    for (const GemmTiming& t : all) {
      const double bytes = static_cast<double>(t.shape.n * t.shape.k) * qtype_bytes(type);
      std::fprintf(file,
                   "%s{\"type\":\"%s\",\"m\":%ld,\"n\":%ld,\"k\":%ld,\"plan\":\"%s\",\"us\":%.2f,\"tb_s\":%."
                   "3f,\"tflop_s\":%.1f}",
                   any ? ",\n" : "", name_of(type), (long)t.m, (long)t.shape.n, (long)t.shape.k,
                   to_string(t.plan).c_str(), t.us, bytes / t.us / 1e6,
                   2.0 * t.m * t.shape.n * t.shape.k / t.us / 1e6);
      any = true;
    }
    std::fflush(file);
    for (const int64_t m : tokens) {
      double sum = 0, flop = 0;
      std::string line;
      for (const auto& l : layers) {
        const GemmTiming* best = nullptr;
        for (const GemmTiming& t : all)
          if (t.m == m && t.shape.n == l.n && t.shape.k == l.k && (best == nullptr || t.us < best->us))
            best = &t;
        if (best == nullptr) continue;
        char text[128];
        std::snprintf(text, sizeof text, " %7.1f (%s)", best->us, to_string(best->plan).c_str());
        line += text;
        sum += best->us;
        flop += 2.0 * static_cast<double>(m * l.n * l.k);
      }
      std::printf("%s m %5ld sum %8.1f us %7.1f TFLOP/s:%s\n", name_of(type), (long)m, sum, flop / sum / 1e6,
                  line.c_str());
    }
    if (!status.ok()) {
      std::printf("%s\n", status.message().c_str());
      return 1;
    }
  }
  std::fprintf(file, "]\n");
  std::fclose(file);
  return 0;
}

// "64,2052": these; "2048": the buckets up to it.
std::vector<int64_t> token_counts(const char* text) {
  std::vector<int64_t> counts;
  std::istringstream list(text);
  for (std::string count; std::getline(list, count, ',');) counts.push_back(std::atoll(count.c_str()));
  return counts.size() == 1 ? gemm_buckets(counts[0]) : counts;
}

int run(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "check";
  std::string kernel;  // or a part of the plan's text
  for (const char* name : {"stream", "tile", "square"})
    if (argc > 2 && std::string(argv[2]) == name) kernel = name;
  std::vector<QType> types;
  for (int i = 2; i < argc; ++i)
    for (const QType t : {QType::kFp8, QType::kInt8, QType::kBF16, QType::kF16})
      if (std::string(argv[i]) == name_of(t)) types.push_back(t);
  if (types.empty()) types = {QType::kFp8, QType::kInt8, QType::kBF16, QType::kF16};
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: there is no GPU\n");
    return 0;
  }
  const Status ready = prepare_gemm();
  if (!ready.ok()) {
    std::printf("%s\n", ready.message().c_str());
    return 1;
  }
  int failed = 0;
  if (verb == "check")
    for (const QType type : types) failed |= check_type(type, kernel);
  else if (verb == "error")
    failed = accumulation_error();
  else if (verb == "time" && argc > 3)
    failed = time_table(argv[2], token_counts(argv[3]), types, std::strcmp(argv[argc - 1], "promote") == 0);
  else
    failed = std::printf(
                 "usage: octet_gemm_check check [stream|tile|square] [TYPE]... | error | "
                 "time OUT.json MAX_M|M,M... [TYPE]... [promote]\n") > 0;
  return failed;
}

}  // namespace
}  // namespace octet::cuda

int main(int argc, char** argv) {
  return octet::cuda::run(argc, argv);
}
