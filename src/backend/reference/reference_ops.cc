#include "backend/reference/reference_ops.h"

#include <cmath>
#include <cstring>
#include <new>
#include <vector>

#include "backend/host_marks.h"
#include "backend/quant_rows.h"
#include "backend/reference/reference_attention.h"
#include "backend/reference/reference_sample.h"

namespace octet {
namespace {

// The weight as given; decoded value by value in `linear`.
class ReferenceLinear : public PackedLinear {
 public:
  std::vector<uint8_t> codes;  // [n, code_bytes(k)]
  std::vector<float> scale;    // [n], [1], [n, groups] or empty
  std::vector<float> bias;     // [n] or empty

  double code(int64_t j, int64_t c) const {
    return decode_code(codes.data() + static_cast<size_t>(j) * code_bytes(scheme.weight.type, k),
                       scheme.weight.type, c);
  }
  double scale_of(int64_t j, int64_t c) const {
    if (scale.empty()) return 1;
    if (scheme.weight.scale != QScale::kGroup) return scale[scale.size() == 1 ? 0 : j];
    return scale[j * group_count(scheme.weight, k) + c / scheme.weight.group_size];
  }
};

class ReferenceOps : public Ops {
 public:
  const BackendInfo& info() const override { return info_; }

  Result<Buffer> allocate(size_t bytes) override {
    constexpr std::align_val_t kAlign{64};
    void* data = ::operator new(bytes + 1, kAlign, std::nothrow);
    if (data == nullptr)
      return resource_exhausted("reference: no memory for " + std::to_string(bytes) + " bytes");
    std::memset(data, 0, bytes);
    return Buffer(data, bytes, [](void* p) { ::operator delete(p, kAlign); });
  }
  void upload(void* device, const void* host, size_t bytes) override { std::memcpy(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override { std::memcpy(host, device, bytes); }
  void mark() override { marks_.mark(); }
  Result<std::vector<double>> take_marks() override { return marks_.take(); }
  size_t scratch_bytes(const OpsLimits&) const override { return 0; }
  Status reserve(const OpsLimits&) override { return {}; }
  Result<std::unique_ptr<PackedLinear>> pack(const LinearWeights& weights) override;
  size_t kv_page_bytes(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) const override {
    return reference::kv_page_bytes(spec, quant, page_size);
  }

  BatchView stage(const ForwardBatch& b) override {
    batch_ = b;
    return {b.n_tokens(),
            b.n_seqs(),
            b.n_logits(),
            b.page_table_stride,
            batch_.token_ids.data(),
            batch_.positions.data(),
            batch_.slots.data(),
            batch_.query_start.data(),
            batch_.context_lens.data(),
            batch_.page_table.data(),
            batch_.logit_rows.data()};
  }
  void embed(const BatchView& batch, const View& table, const View& x) override;
  void norm(const View& x, const float* gamma, float eps, const QView& out) override;
  void linear(const QView& a, const PackedLinear& w, const View& d) override;
  void linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) override;
  void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                     const KvLayer& kv, const View& q) override {
    reference::rope_write_kv(qkv, batch, spec, rope, kv, q);
  }
  void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                 const QView& out) override {
    reference::attention(q, batch, spec, kv, out);
  }
  void quantize(const View& x, const QView& out) override {
    for (int64_t r = 0; r < x.rows; ++r) encode_row(x.row<const float>(r), out, r);
  }
  void silu_mul(const View& gate_up, const QView& out) override;
  void gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out) override {
    const size_t bytes = dtype_bytes(x.type, x.cols);
    for (int32_t i = 0; i < n_rows; ++i) {
      std::memcpy(out.row<uint8_t>(0) + i * dtype_bytes(x.type, out.stride),
                  x.row<uint8_t>(0) + rows[i] * dtype_bytes(x.type, x.stride), bytes);
    }
  }
  void sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) override {
    reference::sample(logits, sampling, out);
  }

 private:
  BackendInfo info_{"reference", "host, 1 thread, naive", DType::kF32, 16};
  ForwardBatch batch_;
  HostMarks marks_;
};

Result<std::unique_ptr<PackedLinear>> ReferenceOps::pack(const LinearWeights& w) {
  OCTET_RETURN_IF_ERROR(check_scheme(w.scheme));
  auto packed = std::make_unique<ReferenceLinear>();
  packed->n = w.n;
  packed->k = w.k;
  packed->scheme = w.scheme;
  packed->bytes = static_cast<size_t>(w.n) * code_bytes(w.scheme.weight.type, w.k);
  const auto* codes = static_cast<const uint8_t*>(w.data);
  packed->codes.assign(codes, codes + packed->bytes);
  if (w.scale != nullptr) packed->scale.assign(w.scale, w.scale + scale_count(w.scheme.weight, w.n, w.k));
  if (w.bias != nullptr) packed->bias.assign(w.bias, w.bias + w.n);
  return std::unique_ptr<PackedLinear>(std::move(packed));
}

void ReferenceOps::embed(const BatchView& batch, const View& table, const View& x) {
  const QType type = table.type == DType::kF32   ? QType::kF32
                     : table.type == DType::kF16 ? QType::kF16
                                                 : QType::kBF16;
  OCTET_CHECK(table.type == DType::kF32 || table.type == DType::kF16 || table.type == DType::kBF16)
      << "embedding table of type " << dtype_name(table.type);
  for (int32_t t = 0; t < batch.n_tokens; ++t) {
    for (int64_t c = 0; c < x.cols; ++c) {
      x.row<float>(t)[c] = decode_code(table.data, type, batch.token_ids[t] * table.stride + c);
    }
  }
}

void ReferenceOps::norm(const View& x, const float* gamma, float eps, const QView& out) {
  std::vector<float> normed(x.cols);
  for (int64_t r = 0; r < x.rows; ++r) {
    const float* row = x.row<const float>(r);
    double squares = 0;
    for (int64_t c = 0; c < x.cols; ++c) squares += double{row[c]} * row[c];
    const double inv_rms = 1 / std::sqrt(squares / static_cast<double>(x.cols) + eps);
    for (int64_t c = 0; c < x.cols; ++c) normed[c] = static_cast<float>(row[c] * inv_rms * gamma[c]);
    encode_row(normed.data(), out, r);
  }
}

void ReferenceOps::linear(const QView& a, const PackedLinear& packed, const View& d) {
  const auto& w = static_cast<const ReferenceLinear&>(packed);
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t j = 0; j < w.n; ++j) {
      double sum = w.bias.empty() ? 0 : w.bias[j];
      for (int64_t c = 0; c < w.k; ++c) {
        const double value = double{decode_unscaled(a, i, c)} * row_scale(a, i) + decode_outlier(a, i, c);
        sum += value * (w.code(j, c) * w.scale_of(j, c));
      }
      d.row<float>(i)[j] = static_cast<float>(sum);
    }
  }
}

void ReferenceOps::linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) {
  linear(a, w, scratch);
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t c = 0; c < x.cols; ++c) x.row<float>(r)[c] += scratch.row<const float>(r)[c];
  }
}

void ReferenceOps::silu_mul(const View& gate_up, const QView& out) {
  std::vector<float> row(out.cols);
  for (int64_t r = 0; r < gate_up.rows; ++r) {
    const float *gate = gate_up.row<const float>(r), *up = gate + out.cols;
    for (int64_t c = 0; c < out.cols; ++c) {
      row[c] = static_cast<float>(gate[c] / (1 + std::exp(-double{gate[c]})) * up[c]);
    }
    encode_row(row.data(), out, r);
  }
}

}  // namespace

std::unique_ptr<Ops> make_reference_ops() {
  return std::make_unique<ReferenceOps>();
}

}  // namespace octet
