// A backend of float32 activations that rounds as a device with bf16 ones does: what that alone costs.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "backend/observing_ops.h"
#include "tensor/quant_codec.h"

namespace octet::test {

// The residual stream, the results of linear layers but the head's logits, rotated queries and what attention
// gives are rounded to bf16; everything else is the backend's own, whose memory is the host's.
class RoundingOps final : public ObservingOps {
 public:
  RoundingOps(std::unique_ptr<Ops> ops, int64_t vocab_size)
      : ObservingOps(*ops), exact_(std::move(ops)), vocab_size_(vocab_size) {}

  void embed(const BatchView& batch, const View& table, const View& x) override {
    exact_->embed(batch, table, x);
    round(x);
  }
  void linear(const QView& a, const PackedLinear& w, const View& d) override {
    exact_->linear(a, w, d);
    if (w.n != vocab_size_) round(d);
  }
  void linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) override {
    linear(a, w, scratch);
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t c = 0; c < x.cols; ++c) x.row<float>(r)[c] += scratch.row<const float>(r)[c];
    }
    round(x);
  }
  void linear_silu_mul(const QView& a, const PackedLinear& w, const View& scratch,
                       const QView& out) override {
    Ops::linear_silu_mul(a, w, scratch, out);
  }
  void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                     const KvLayer& kv, const View& q) override {
    exact_->rope_write_kv(qkv, batch, spec, rope, kv, q);
    round(q);
  }
  void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                 const QView& out) override {
    std::vector<float> rows(static_cast<size_t>(out.rows * out.cols));
    const View plain{rows.data(), DType::kF32, out.rows, out.cols, out.cols};
    exact_->attention(q, batch, spec, kv,
                      {rows.data(), {.type = QType::kF32}, out.rows, out.cols, out.cols, nullptr, nullptr});
    round(plain);
    exact_->quantize(plain, out);
  }

 private:
  static void round(const View& v) {
    for (int64_t r = 0; r < v.rows; ++r) {
      for (int64_t c = 0; c < v.cols; ++c) v.row<float>(r)[c] = bf16_to_f32(f32_to_bf16(v.row<float>(r)[c]));
    }
  }

  std::unique_ptr<Ops> exact_;
  int64_t vocab_size_;
};

}  // namespace octet::test
