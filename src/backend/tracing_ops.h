// Takes the time of every op that passes through a backend, with what it moves and computes: `octet profile`
// is built on it; the model knows nothing of it.
//
// Ops are timed by marks on the backend's own stream, without waiting for any of them. On a device that runs
// ahead of the host a mark stands between two ops, so each takes from the end of the one before to its own;
// recorded steps are not used, and kernels cannot overlap: the profiler sets the sum beside the untraced
// step. Elsewhere each op has two marks, and what lies between ops is the host's.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "backend/op_cost.h"
#include "backend/ops.h"

namespace octet {

enum class OpKind : uint8_t {
  kStage,
  kHeadStart,  // not an op: the untraced steps before a traced one (set_head_start)
  kEmbed,
  kNorm,
  kLinear,
  kLinearSiluMul,  // where a backend fuses them
  kRopeWriteKv,
  kAttention,
  kQuantize,
  kSiluMul,
  kGatherRows,
  kSample,
};
const char* op_name(OpKind kind);

// Times in seconds from the first op's start, on the device's clock and on the host's: when the op ran, and
// when it was asked for.
struct OpRecord {
  OpKind kind = OpKind::kStage;
  int64_t rows = 0, n = 0, k = 0;  // n, k of linear layers
  QType input = QType::kF32;       // of linear layers: the operands' type
  OpCost cost;
  double start = 0, end = 0, host_start = 0, host_end = 0;
  double seconds() const { return end - start; }
};

// Every op is the owned backend's, bit by bit, traced or not.
class TracingOps : public Ops {
 public:
  explicit TracingOps(std::unique_ptr<Ops> inner) : inner_(std::move(inner)) {}

  // Room for so many ops between start and stop; also makes the marks, and finds what one of them costs.
  Status prepare(size_t max_ops);
  double mark_seconds() const { return mark_seconds_; }
  // How often `run` runs a traced step untraced before: work that keeps a device busy while the host, which
  // is slower with marks, asks for the traced ops. 0 where the host computes.
  void set_head_start(int32_t steps) { head_start_ = steps; }

  void start();
  // Waits for the device. Errors: kResourceExhausted where there were more ops than `prepare` made room for.
  Result<std::vector<OpRecord>> stop();

  // What loading a model spent here so far, traced or not: taking memory, and making it hold weights.
  struct LoadSeconds {
    double memory = 0, weights = 0;
  };
  const LoadSeconds& load_seconds() const { return load_; }

  const BackendInfo& info() const override { return inner_->info(); }
  Result<Buffer> allocate(size_t bytes) override {
    const Timed timed(load_.memory);
    return inner_->allocate(bytes);
  }
  void upload(void* device, const void* host, size_t bytes) override {
    const Timed timed(load_.weights);
    inner_->upload(device, host, bytes);
  }
  void download(void* host, const void* device, size_t bytes) override {
    inner_->download(host, device, bytes);
  }
  Fence fence() override { return inner_->fence(); }
  Status wait(Fence fence) override { return inner_->wait(fence); }
  void mark() override { inner_->mark(); }
  Result<std::vector<double>> take_marks() override { return inner_->take_marks(); }
  size_t scratch_bytes(const OpsLimits& limits) const override { return inner_->scratch_bytes(limits); }
  Status reserve(const OpsLimits& limits) override {
    const Timed timed(load_.memory);
    return inner_->reserve(limits);
  }
  Status check_attention(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) const override {
    return inner_->check_attention(spec, quant, page_size);
  }
  Result<std::unique_ptr<PackedLinear>> pack(const LinearWeights& weights) override {
    const Timed timed(load_.weights);
    return inner_->pack(weights);
  }
  size_t kv_page_bytes(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) const override {
    return inner_->kv_page_bytes(spec, quant, page_size);
  }

  BatchView stage(const ForwardBatch& batch) override;
  void run(const BatchView& batch, const std::function<void(const BatchView&)>& step) override;
  void embed(const BatchView& batch, const View& table, const View& x) override;
  void norm(const View& x, const float* gamma, float eps, const QView& out) override;
  void linear(const QView& a, const PackedLinear& w, const View& d) override;
  void linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) override;
  void linear_silu_mul(const QView& a, const PackedLinear& w, const View& scratch, const QView& out) override;
  void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                     const KvLayer& kv, const View& q) override;
  void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                 const QView& out) override;
  void quantize(const View& x, const QView& out) override;
  void silu_mul(const View& gate_up, const QView& out) override;
  void gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out) override;
  void sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) override;

 private:
  using Clock = std::chrono::steady_clock;
  // Adds its own life to a sum.
  class Timed {
   public:
    explicit Timed(double& sum) : sum_(sum) {}
    ~Timed() { sum_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;

   private:
    double& sum_;
    Clock::time_point start_ = Clock::now();
  };
  struct Entry {
    OpRecord record;
    size_t first_mark = 0, last_mark = 0;
  };

  template <class Call>
  void trace_linear(OpKind kind, const QView& a, const PackedLinear& w, const OpCost& cost, const Call& call);
  template <class Describe, class Call>
  void trace(OpKind kind, const Describe& describe, const Call& call);
  size_t set_mark();
  double host_now() const { return std::chrono::duration<double>(Clock::now() - origin_).count(); }

  std::unique_ptr<Ops> inner_;
  const ForwardBatch* batch_ = nullptr;  // the step's: what attention covers is in it
  std::vector<Entry> entries_;
  size_t max_ops_ = 0, n_marks_ = 0;
  double mark_seconds_ = 0;
  Clock::time_point origin_;
  int32_t head_start_ = 0;
  LoadSeconds load_;
  bool tracing_ = false, full_ = false;
  bool joined_ = false;  // the last mark is also the next op's first
};

}  // namespace octet
