#include "backend/cpu/cpu_ops.h"

#include <cstring>
#include <fstream>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#include <sched.h>

#include "backend/cpu/attention.h"
#include "backend/cpu/encode.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/rope.h"
#include "backend/cpu/sample.h"
#include "backend/host_marks.h"
#include "base/memory.h"
#include "base/thread_pool.h"

namespace octet {
namespace {

// Work (in values, weighted by their cost) that one thread has done about when the others have begun: some 10
// us.
constexpr int64_t kInlineWork = 32768;
// Cost of a value relative to normalizing it.
constexpr int64_t kSiluCost = 2;
// Tokens that one thread takes at a time in rope_write_kv: those of one page share cache lines.
constexpr int64_t kRopeGrain = 32;

// Bytes that one thread zeroes at a time: the first touch of a large cache is most of a small model's start.
constexpr int64_t kZeroGrain = int64_t{16} << 20;

constexpr int kMostThreads = 1024;

// The processors that this process may run on.
int available_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

class CpuOps : public Ops {
 public:
  CpuOps(int n_threads, Isa isa) : isa_(isa), kernels_(cpu::row_kernels(isa)), pool_(n_threads) {
    info_.name = "cpu";
    info_.device = processor_name() + ", " + std::to_string(n_threads) +
                   (n_threads == 1 ? " thread, " : " threads, ") + isa_name(isa);
    info_.page_size = 16;
    info_.memory_available = available_memory();
  }

  const BackendInfo& info() const override { return info_; }
  Result<Buffer> allocate(size_t bytes) override;
  void upload(void* device, const void* host, size_t bytes) override { std::memcpy(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override { std::memcpy(host, device, bytes); }
  void mark() override { marks_.mark(); }
  Result<std::vector<double>> take_marks() override { return marks_.take(); }
  size_t scratch_bytes(const OpsLimits& limits) const override;
  Status reserve(const OpsLimits& limits) override;
  Status check_attention(const AttentionSpec& spec, const KvQuant&, int32_t page_size) const override {
    return cpu::KvLayout::check(spec, page_size);
  }
  Result<std::unique_ptr<PackedLinear>> pack(const LinearWeights& weights) override {
    return pack_linear(weights, isa_, pool_, weight_memory_);
  }
  size_t kv_page_bytes(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) const override {
    return cpu::KvLayout(spec, quant, page_size).page_bytes;
  }

  // The engine's arrays are host memory already: nothing is copied.
  BatchView stage(const ForwardBatch& b) override {
    return {b.n_tokens(),          b.n_seqs(),          b.n_logits(),       b.page_table_stride,
            b.token_ids.data(),    b.positions.data(),  b.slots.data(),     b.query_start.data(),
            b.context_lens.data(), b.page_table.data(), b.logit_rows.data()};
  }
  void embed(const BatchView& batch, const View& table, const View& x) override;
  void norm(const View& x, const float* gamma, float eps, const QView& out) override;
  void linear(const QView& a, const PackedLinear& w, const View& d) override {
    octet::linear(a, w, d, pool_);
  }
  void linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) override;
  void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                     const KvLayer& kv, const View& q) override;
  void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                 const QView& out) override {
    attention_->run(q, batch, spec, kv, out, pool_);
  }
  void quantize(const View& x, const QView& out) override;
  void silu_mul(const View& gate_up, const QView& out) override;
  void gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out) override;
  void sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) override;

 private:
  size_t row_floats(const OpsLimits& limits) const;
  float* row_scratch(int thread) { return rows_.data() + static_cast<size_t>(thread) * row_floats_; }

  // body(row, thread) for every row: on this thread alone where the work is small.
  template <class Body>
  void for_rows(int64_t n_rows, int64_t work_per_row, const Body& body, int64_t least_grain = 1) {
    if (n_rows * work_per_row <= kInlineWork) {
      for (int64_t r = 0; r < n_rows; ++r) body(r, 0);
      return;
    }
    const int64_t grain = std::max(least_grain, n_rows / (8 * pool_.size()));
    pool_.parallel_for(n_rows, grain, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t r = begin; r < end; ++r) body(r, thread);
    });
  }

  BackendInfo info_;
  Isa isa_;
  const cpu::RowKernels& kernels_;
  ThreadPool pool_;
  HugePages weight_memory_;
  // Taken by reserve.
  size_t row_floats_ = 0;
  std::vector<float> rows_;                // [n_threads, row_floats_]
  std::vector<cpu::RowSampler> samplers_;  // by thread
  std::optional<cpu::Attention> attention_;
  HostMarks marks_;
};

Result<Buffer> CpuOps::allocate(size_t bytes) {
  constexpr std::align_val_t kAlign{64};
  void* data = ::operator new(std::max<size_t>(bytes, 1), kAlign, std::nothrow);
  if (data == nullptr) return resource_exhausted("cpu: no memory for " + std::to_string(bytes) + " bytes");
  pool_.parallel_for(static_cast<int64_t>(bytes), kZeroGrain, [&](int64_t begin, int64_t end, int) {
    std::memset(static_cast<char*>(data) + begin, 0, static_cast<size_t>(end - begin));
  });
  return Buffer(data, bytes, [](void* p) { ::operator delete(p, kAlign); });
}

size_t CpuOps::row_floats(const OpsLimits& limits) const {
  const size_t floats =
      std::max(static_cast<size_t>(limits.max_cols), cpu::rope_scratch_floats(limits.attention));
  return (floats + 15) / 16 * 16;
}

size_t CpuOps::scratch_bytes(const OpsLimits& limits) const {
  const auto n_threads = static_cast<size_t>(pool_.size());
  return n_threads *
             (row_floats(limits) * sizeof(float) + cpu::RowSampler::scratch_bytes(limits.vocab_size)) +
         cpu::Attention::scratch_bytes(limits, pool_.size());
}

Status CpuOps::reserve(const OpsLimits& limits) {
  try {
    row_floats_ = row_floats(limits);
    rows_.assign(static_cast<size_t>(pool_.size()) * row_floats_, 0);
    samplers_.clear();
    for (int i = 0; i < pool_.size(); ++i) samplers_.emplace_back(kernels_, limits.vocab_size);
    attention_.emplace(limits, isa_, pool_.size());
  } catch (const std::bad_alloc&) {
    return resource_exhausted("cpu: no memory for " + std::to_string(scratch_bytes(limits)) +
                              " bytes of scratch");
  }
  return {};
}

void CpuOps::embed(const BatchView& batch, const View& table, const View& x) {
  for_rows(batch.n_tokens, x.cols, [&](int64_t t, int) {
    const int64_t id = batch.token_ids[t];
    switch (table.type) {
      case DType::kBF16:
        return kernels_.from_bf16(table.row<const uint16_t>(id), x.cols, x.row<float>(t));
      case DType::kF16:
        return kernels_.from_f16(table.row<const uint16_t>(id), x.cols, x.row<float>(t));
      case DType::kF32:
        std::memcpy(x.row<float>(t), table.row<const float>(id), static_cast<size_t>(x.cols) * sizeof(float));
        return;
      default:
        OCTET_CHECK(false) << "embedding table of type " << dtype_name(table.type);
    }
  });
}

// Sums of k are kept in the result while they grow, so it cannot be x itself.
void CpuOps::linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) {
  octet::linear(a, w, scratch, pool_);
  for_rows(x.rows, x.cols, [&](int64_t r, int) {
    float* to = x.row<float>(r);
    const float* from = scratch.row<const float>(r);
    for (int64_t c = 0; c < x.cols; ++c) to[c] += from[c];
  });
}

void CpuOps::norm(const View& x, const float* gamma, float eps, const QView& out) {
  for_rows(x.rows, x.cols, [&](int64_t r, int thread) {
    float* y = cpu::staging_row(out, r, row_scratch(thread));
    kernels_.norm(x.row<const float>(r), gamma, eps, x.cols, y);
    cpu::encode_row(kernels_, y, out, r, y);
  });
}

void CpuOps::rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec,
                           const RopeSpec& rope, const KvLayer& kv, const View& q) {
  const cpu::KvLayout layout(spec, kv.quant, kv.page_size);
  const auto write = [&](int64_t t, int thread) {
    cpu::rope_write_token(kernels_, qkv, batch, spec, rope, kv, layout, q, static_cast<int32_t>(t),
                          row_scratch(thread));
  };
  for_rows(batch.n_tokens, qkv.cols, write, kRopeGrain);
}

void CpuOps::quantize(const View& x, const QView& out) {
  for_rows(x.rows, x.cols, [&](int64_t r, int thread) {
    cpu::encode_row(kernels_, x.row<const float>(r), out, r, row_scratch(thread));
  });
}

void CpuOps::silu_mul(const View& gate_up, const QView& out) {
  for_rows(gate_up.rows, out.cols * kSiluCost, [&](int64_t r, int thread) {
    const float* gate = gate_up.row<const float>(r);
    float* y = cpu::staging_row(out, r, row_scratch(thread));
    kernels_.silu_mul(gate, gate + out.cols, out.cols, y);
    cpu::encode_row(kernels_, y, out, r, y);
  });
}

void CpuOps::gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out) {
  OCTET_CHECK(x.type == DType::kF32 && out.type == DType::kF32) << "activations are f32";
  for_rows(n_rows, x.cols, [&](int64_t i, int) {
    std::memcpy(out.row<float>(i), x.row<const float>(rows[i]), static_cast<size_t>(x.cols) * sizeof(float));
  });
}

void CpuOps::sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) {
  pool_.parallel_for(logits.rows, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t r = begin; r < end; ++r) {
      samplers_[thread].sample(logits.row<const float>(r), sampling, sampling.rows[r], out[r]);
    }
  });
}

}  // namespace

Result<std::unique_ptr<Ops>> make_cpu_ops(const CpuOptions& options) {
  if (options.n_threads < 0 || options.n_threads > kMostThreads) {
    return invalid_argument("cpu: " + std::to_string(options.n_threads) + " threads; expected 1 to " +
                            std::to_string(kMostThreads) + ", or 0 for all");
  }
  OCTET_ASSIGN_OR_RETURN(const Isa isa, isa_by_name(options.isa));
  const int n_threads = options.n_threads == 0 ? available_threads() : options.n_threads;
  return std::unique_ptr<Ops>(std::make_unique<CpuOps>(n_threads, isa));
}

}  // namespace octet
