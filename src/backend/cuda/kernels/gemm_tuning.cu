#include <algorithm>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/gemm_tuning.h"

namespace octet::cuda {
namespace {

constexpr size_t kColdBytes = size_t{192} << 20;  // some times L2
constexpr float kClearlyFaster = 0.98f;

// Codes as they occur, for tensor cores draw more power, and so run slower, on noise than on zeros.
__global__ void fill(void* data, QType type, size_t n) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x) {
    uint32_t h = static_cast<uint32_t>(i) * 2654435761u + static_cast<uint32_t>(i >> 32);
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    const float u = static_cast<float>(h & 0xffff) * 0x1p-16f + static_cast<float>(h >> 16) * 0x1p-16f - 1.0f;
    if (type == QType::kInt8) static_cast<int8_t*>(data)[i] = static_cast<int8_t>(u * 100);
    if (type == QType::kFp8) static_cast<__nv_fp8_e4m3*>(data)[i] = __nv_fp8_e4m3(u * 100);
    if (type == QType::kBF16) static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(u);
    if (type == QType::kF16) static_cast<__half*>(data)[i] = __float2half_rn(u);
  }
}

__global__ void fill_ones(float* data, int64_t n) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n;
       i += int64_t{gridDim.x} * blockDim.x)
    data[i] = 0.01f;
}

int64_t row_bytes(const GemmShape& s) {
  return (s.k * static_cast<int64_t>(qtype_bytes(s.type)) + 15) / 16 * 16;
}

Status check(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return {};
  cudaGetLastError();  // the caller goes on without timings; what broke the device is told by the next call
                       // too
  return resource_exhausted("cuda: timing of " + what + ": " + cudaGetErrorString(error));
}

// Memory, events and graphs of the timings.
class Tuner {
 public:
  explicit Tuner(cudaStream_t stream) : stream_(stream) {}
  Tuner(const Tuner&) = delete;
  ~Tuner() {
    for (void* p : {weights_, tokens_, results_, scales_}) cudaFree(p);
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (end_ != nullptr) cudaEventDestroy(end_);
  }

  Status reserve(const std::vector<GemmShape>& shapes, int64_t max_m) {
    size_t tokens = 0, results = 0;
    int64_t columns = max_m;
    pool_ = kColdBytes;
    for (const GemmShape& s : shapes) {
      const auto row = static_cast<size_t>(row_bytes(s));
      pool_ = std::max(pool_, row * s.n);
      tokens = std::max(tokens, row * max_m);
      results = std::max(results, static_cast<size_t>(max_m * s.n) * (s.f32_out ? 4 : 2));
      columns = std::max(columns, s.n);
    }
    OCTET_RETURN_IF_ERROR(check(cudaMalloc(&weights_, pool_), "products"));
    OCTET_RETURN_IF_ERROR(check(cudaMalloc(&tokens_, tokens), "products"));
    OCTET_RETURN_IF_ERROR(check(cudaMalloc(&results_, results), "products"));
    OCTET_RETURN_IF_ERROR(check(cudaMalloc(&scales_, columns * 4), "products"));
    fill_ones<<<64, 256, 0, stream_>>>(static_cast<float*>(scales_), columns);
    token_bytes_ = tokens;
    OCTET_RETURN_IF_ERROR(check(cudaEventCreate(&begin_), "products"));
    return check(cudaEventCreate(&end_), "products");
  }

  void use(QType type) {
    fill<<<1024, 256, 0, stream_>>>(weights_, type, pool_ / qtype_bytes(type));
    fill<<<1024, 256, 0, stream_>>>(tokens_, type, token_bytes_ / qtype_bytes(type));
  }

  Status time(const GemmShape& s, int64_t m, const GemmPlan& plan, int repeats, float* us) {
    const size_t bytes = static_cast<size_t>(row_bytes(s) * s.n);
    const int64_t stride = row_bytes(s) / static_cast<int64_t>(qtype_bytes(s.type));
    const int copies = static_cast<int>(std::clamp<size_t>(pool_ / bytes, 1, 32));
    const int launches = m > 512 ? 6 : 24;
    const bool scaled = s.type == QType::kInt8 || s.type == QType::kFp8;
    auto* scale = static_cast<float*>(scales_);
    std::vector<GemmWeights> weights;
    for (int i = 0; i < copies; ++i) {
      GemmWeights w{
          s.type, s.n, s.k, static_cast<char*>(weights_) + i * bytes, row_bytes(s), scaled ? scale : nullptr};
      OCTET_RETURN_IF_ERROR(describe_gemm_weights(w));
      weights.push_back(w);
    }
    QView a{
        tokens_, {s.type, scaled ? QScale::kToken : QScale::kNone}, m, s.k, stride, scaled ? scale : nullptr};
    const GemmResults d(View{results_, s.f32_out ? DType::kF32 : DType::kBF16, m, s.n, s.n});
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal);
    for (int i = 0; i < launches; ++i) gemm(a, weights[i % copies], d, plan, stream_);
    cudaError_t error = cudaStreamEndCapture(stream_, &graph);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&exec, graph, 0);
    *us = 1e9f;
    for (int repeat = 0; repeat <= repeats && error == cudaSuccess; ++repeat) {  // the first warms up
      cudaEventRecord(begin_, stream_);
      error = cudaGraphLaunch(exec, stream_);
      cudaEventRecord(end_, stream_);
      if (error == cudaSuccess) error = cudaEventSynchronize(end_);
      float ms = 0;
      if (error == cudaSuccess) error = cudaEventElapsedTime(&ms, begin_, end_);
      if (repeat > 0) *us = std::min(*us, ms * 1e3f / launches);
    }
    if (exec != nullptr) cudaGraphExecDestroy(exec);
    if (graph != nullptr) cudaGraphDestroy(graph);
    return check(error, to_string(plan));
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  void *weights_ = nullptr, *tokens_ = nullptr, *results_ = nullptr, *scales_ = nullptr;
  size_t pool_ = 0, token_bytes_ = 0;
};

}  // namespace

Status tune_gemms(GemmPlans& plans, const std::vector<GemmShape>& shapes, const std::vector<int64_t>& tokens,
                  cudaStream_t stream, const TuneEffort& effort, std::vector<GemmTiming>* all) {
  Tuner tuner(stream);
  OCTET_RETURN_IF_ERROR(tuner.reserve(shapes, std::ranges::max(tokens)));
  QType filled = QType::kF32;
  for (const GemmShape& shape : shapes) {
    if (shape.type != filled) tuner.use(shape.type);
    filled = shape.type;
    for (const int64_t m : tokens) {
      if (plans.has(shape, m)) continue;
      auto candidates = gemm_candidates(plans.problem(shape.type, m, shape.n, shape.k));
      if (candidates.size() > effort.candidates) candidates.resize(effort.candidates);
      float best = 1e9f;
      for (const GemmPlan& plan : candidates) {
        float us = 0;
        OCTET_RETURN_IF_ERROR(tuner.time(shape, m, plan, effort.repeats, &us));
        if (all != nullptr) all->push_back({shape, m, plan, us});
        if (us < kClearlyFaster * best) plans.set(shape, m, plan, best = us);
      }
    }
  }
  return {};
}

}  // namespace octet::cuda
