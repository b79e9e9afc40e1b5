#include <map>
#include <optional>
#include <tuple>

#include "backend/cuda/cuda_ops.h"
#include "backend/cuda/devices.h"
#include "backend/cuda/kernels/attention.h"
#include "backend/cuda/kernels/attention_limits.h"
#include "backend/cuda/kernels/gemm.h"
#include "backend/cuda/kernels/kv_layout.h"
#include "backend/cuda/kernels/rope.h"
#include "backend/cuda/kernels/rows.h"
#include "backend/cuda/marks.h"
#include "backend/cuda/packed_linear.h"
#include "backend/cuda/sampler.h"
#include "backend/cuda/staging.h"

namespace octet::cuda {
namespace {

// Kept free of the model's: code of kernels as it is loaded, recorded steps, values on their way into packed
// weights.
constexpr int64_t kReservedMemory = int64_t{512} << 20;

// A shape's plans are timed in about 100 ms.
constexpr TuneEffort kStartEffort{.candidates = 6, .repeats = 2};

// A recorded step.
class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph() {
    if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
  }
  bool recorded() const { return exec_ != nullptr; }
  cudaError_t launch(cudaStream_t stream) { return cudaGraphLaunch(exec_, stream); }
  template <class Step>
  cudaError_t record(cudaStream_t stream, const Step& step) {
    cudaError_t error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (error != cudaSuccess) return error;
    step();
    cudaGraph_t graph = nullptr;
    error = cudaStreamEndCapture(stream, &graph);
    if (error == cudaSuccess) error = cudaGraphInstantiate(&exec_, graph, 0);
    if (graph != nullptr) cudaGraphDestroy(graph);
    return error;
  }
  bool seen = false;  // a step of these sizes ran before

 private:
  cudaGraphExec_t exec_ = nullptr;
};

class Stream {
 public:
  Stream() { cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking); }
  ~Stream() {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class CudaOps final : public Ops {
 public:
  CudaOps(const CudaDevice& device, const CudaOptions& options)
      : options_(options), uploader_(stream_), planner_(planner_options(device, options), tuner()) {
    info_.name = "cuda";
    info_.device = device.name + ", CUDA device " + std::to_string(device.index);
    info_.activation = DType::kBF16;
    info_.page_size = kBestPageSize;
    info_.step_tokens = 8192;
    info_.memory_available = std::max<int64_t>(device.memory_free - kReservedMemory, 1);
    info_.own_memory = true;
    info_.runs_ahead = true;
    info_.quantizes_weights = true;
    info_.fuses_silu_mul = true;
  }

  const BackendInfo& info() const override { return info_; }
  Result<Buffer> allocate(size_t bytes) override;
  void upload(void* device, const void* host, size_t bytes) override {
    fault_.check(uploader_.copy(device, host, bytes), "upload");
  }
  void download(void* host, const void* device, size_t bytes) override {
    fault_.check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_), "download");
    fault_.check(cudaStreamSynchronize(stream_), "download");
  }
  Fence fence() override;
  Status wait(Fence fence) override;
  void mark() override { fault_.check(marks_.mark(stream_), "a mark"); }
  Result<std::vector<double>> take_marks() override;
  size_t scratch_bytes(const OpsLimits& limits) const override;
  Status reserve(const OpsLimits& limits) override;
  Status check_attention(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) const override {
    return check_attention_support(spec, quant, page_size);
  }
  Result<std::unique_ptr<PackedLinear>> pack(const LinearWeights& weights) override;
  size_t kv_page_bytes(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) const override {
    return static_cast<size_t>(KvLayout(spec, quant, page_size).page_bytes);
  }

  BatchView stage(const ForwardBatch& batch) override;
  void run(const BatchView& batch, const std::function<void(const BatchView&)>& step) override;
  void embed(const BatchView& batch, const View& table, const View& x) override {
    cuda::embed(batch, sampler_->tokens(), table, x, stream_);
    check("embed");
  }
  void norm(const View& x, const float* gamma, float eps, const QView& out) override {
    cuda::norm(x, gamma, eps, out, stream_);
    check("norm");
  }
  void linear(const QView& a, const PackedLinear& w, const View& d) override {
    static_cast<const CudaLinear&>(w).multiply(a, d, false, stream_);
    check("linear");
  }
  void linear_add(const QView& a, const PackedLinear& w, const View&, const View& x) override {
    static_cast<const CudaLinear&>(w).multiply(a, x, true, stream_);
    check("linear_add");
  }
  void linear_silu_mul(const QView& a, const PackedLinear& w, const View& scratch,
                       const QView& out) override {
    static_cast<const CudaLinear&>(w).multiply_gated(a, scratch, out, stream_);
    check("linear_silu_mul");
  }
  void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                     const KvLayer& kv, const View& q) override {
    cuda::rope_write_kv(qkv, batch, spec, rope, kv, q, stream_);
    check("rope_write_kv");
  }
  void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                 const QView& out) override {
    cuda::attention(q, batch, spec, kv, plan_, out, workspace_.data(), stream_);
    check("attention");
  }
  void quantize(const View& x, const QView& out) override {
    cuda::quantize(x, out, stream_);
    check("quantize");
  }
  void silu_mul(const View& gate_up, const QView& out) override {
    cuda::silu_mul(gate_up, out, stream_);
    check("silu_mul");
  }
  void gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out) override {
    cuda::gather_rows(x, rows, n_rows, out, stream_);
    check("gather_rows");
  }
  void sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) override {
    sampler_->sample(logits, sampling, out);
  }

 private:
  void check(const char* op) { fault_.check(cudaGetLastError(), op); }
  // The current device is a thread's own: whoever begins something makes it this one.
  void use() { fault_.check(cudaSetDevice(options_.device), "choosing the device"); }

  static GemmPlannerOptions planner_options(const CudaDevice& device, const CudaOptions& options);
  GemmPlanner::Tune tuner() {
    return [this](GemmPlans& plans, const GemmShape& shape) {
      return tune_gemms(plans, {shape}, gemm_buckets(kMostTimedTokens), stream_, kStartEffort);
    };
  }

  CudaOptions options_;
  BackendInfo info_;
  Fault fault_;
  Stream stream_;
  Uploader uploader_;
  GemmPlanner planner_;

  struct OpenFence {
    Event event;
    uint64_t n_sampled = 0;  // calls of sample before it
  };
  OpenFence fences_[kMaxFences];
  Marks marks_;
  uint32_t n_fences_ = 0;

  // Taken by reserve.
  OpsLimits limits_;
  Buffer staged_, sampling_, workspace_;
  PinnedRing<3> staging_;
  std::optional<Sampler> sampler_;

  // Of the batch that was staged last.
  StagedSizes sizes_;
  AttentionPlan plan_;
  std::map<std::tuple<int32_t, int32_t>, Graph> graphs_;  // by number of sequences and page table stride
};

GemmPlannerOptions CudaOps::planner_options(const CudaDevice& device, const CudaOptions& options) {
  GemmPlannerOptions planner;
  planner.batch_invariant = options.batch_invariant;
  planner.timed = options.kernel_plans != "off";
  planner.file = options.kernel_plans == "auto" ? default_gemm_plan_file(device.name, options.batch_invariant)
                                                : options.kernel_plans;
  planner.device = device.name;
  planner.info = options.info;
  planner.warning = options.warning;
  return planner;
}

Result<Buffer> CudaOps::allocate(size_t bytes) {
  use();
  void* data = nullptr;
  const size_t rounded = std::max<size_t>(bytes, 1);
  if (const cudaError_t error = cudaMalloc(&data, rounded); error != cudaSuccess) {
    cudaGetLastError();
    size_t free_bytes = 0, total = 0;
    cudaMemGetInfo(&free_bytes, &total);
    return resource_exhausted("cuda: no memory for " + std::to_string(bytes >> 20) + " MiB more, " +
                              std::to_string(free_bytes >> 20) + " MiB are free (" +
                              cudaGetErrorString(error) + ")");
  }
  fault_.check(cudaMemsetAsync(data, 0, rounded, stream_), "clearing memory");
  return Buffer(data, bytes, [](void* p) { cudaFree(p); });
}

Fence CudaOps::fence() {
  const auto i = static_cast<Fence>(n_fences_++ % kMaxFences);
  fences_[i].n_sampled = sampler_ ? sampler_->n_calls() : 0;
  fault_.check(fences_[i].event.record(stream_), "fence");
  return i;
}

Status CudaOps::wait(Fence fence) {
  fault_.check(fences_[fence].event.wait(), "a kernel of this step");
  if (fault_.ok() && sampler_) sampler_->deliver(fences_[fence].n_sampled);
  return fault_.status();
}

Result<std::vector<double>> CudaOps::take_marks() {
  std::vector<double> seconds;
  fault_.check(marks_.take(seconds), "marks");
  OCTET_RETURN_IF_ERROR(fault_.status());
  return seconds;
}

size_t CudaOps::scratch_bytes(const OpsLimits& limits) const {
  return max_staged_bytes(limits) + static_cast<size_t>(max_prefill_tiles(limits)) * sizeof(PrefillTile) +
         Sampler::device_bytes(limits) + attention_workspace_bytes(limits);
}

Status CudaOps::reserve(const OpsLimits& limits) {
  if (limits.max_seqs > kMaxDecodeSeqs) {
    return unsupported("cuda: a batch of " + std::to_string(limits.max_seqs) + " sequences; at most " +
                       std::to_string(kMaxDecodeSeqs) + " are supported: give a smaller --max-batch");
  }
  limits_ = limits;
  graphs_.clear();
  sampler_.reset();
  const size_t staged =
      max_staged_bytes(limits) + static_cast<size_t>(max_prefill_tiles(limits)) * sizeof(PrefillTile);
  OCTET_ASSIGN_OR_RETURN(staged_, allocate(staged));
  OCTET_ASSIGN_OR_RETURN(sampling_, allocate(Sampler::device_bytes(limits)));
  OCTET_ASSIGN_OR_RETURN(workspace_, allocate(attention_workspace_bytes(limits)));
  fault_.check(staging_.allocate(staged), "pinned memory for batches");
  sampler_.emplace(limits, sampling_.as<std::byte>(), stream_, fault_);
  return fault_.status();
}

Result<std::unique_ptr<PackedLinear>> CudaOps::pack(const LinearWeights& weights) {
  use();
  OCTET_RETURN_IF_ERROR(check_scheme(weights.scheme));
  auto packed = std::make_unique<CudaLinear>();
  OCTET_RETURN_IF_ERROR(packed->load(weights, *this, uploader_, planner_, stream_));
  check("pack");
  OCTET_RETURN_IF_ERROR(fault_.status());
  return std::unique_ptr<PackedLinear>(std::move(packed));
}

BatchView CudaOps::stage(const ForwardBatch& batch) {
  use();
  sizes_ = staged_sizes(batch, limits_);
  std::byte* host = staging_.begin();
  auto* device = staged_.as<std::byte>();
  const BatchView view = pack_batch(batch, sizes_, host, device);
  size_t bytes = staged_bytes(sizes_);
  plan_ = {};
  plan_.batch_invariant = options_.batch_invariant;
  if (!sizes_.decodes || options_.batch_invariant) {
    plan_.tiles = reinterpret_cast<const PrefillTile*>(device + bytes);
    plan_.n_tiles = plan_prefill(batch, limits_.attention, options_.batch_invariant,
                                 reinterpret_cast<PrefillTile*>(host + bytes), &plan_.has_decodes);
    bytes += static_cast<size_t>(plan_.n_tiles) * sizeof(PrefillTile);
  }
  fault_.check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_), "copying a batch");
  staging_.end(stream_);
  return view;
}

// The first step of its sizes runs as it comes, which also loads the kernels it needs; the second one is
// recorded.
void CudaOps::run(const BatchView& batch, const std::function<void(const BatchView&)>& step) {
  if (!options_.replay || !sizes_.decodes || plan_.n_tiles > 0 || !fault_.ok()) return step(batch);
  Graph& graph = graphs_[{sizes_.n_seqs, sizes_.page_table_stride}];
  if (!graph.seen) {
    graph.seen = true;
    return step(batch);
  }
  if (!graph.recorded()) fault_.check(graph.record(stream_, [&] { step(batch); }), "recording a step");
  if (graph.recorded()) fault_.check(graph.launch(stream_), "a recorded step");
}

}  // namespace

Result<std::unique_ptr<Ops>> make_ops(const CudaOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const CudaDevice device, use_device(options.device));
  OCTET_RETURN_IF_ERROR(prepare_gemm());
  OCTET_RETURN_IF_ERROR(prepare_attention());
  return std::unique_ptr<Ops>(std::make_unique<CudaOps>(device, options));
}

}  // namespace octet::cuda
