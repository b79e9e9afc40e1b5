// Shows what passes through a backend to an observer: the input of every linear layer, and the keys and
// values of every attention layer. Calibration is built on it; the model knows nothing of it.
#pragma once

#include "backend/ops.h"

namespace octet {

// Called before the op itself runs. What the views point to is the backend's memory (`Ops::download` reads
// it), valid until the call returns.
class OpsObserver {
 public:
  virtual ~OpsObserver() = default;
  virtual void on_linear(const QView& a, const PackedLinear& w) = 0;
  // qkv as rope_write_kv takes it: before rotation.
  virtual void on_keys_values(const View& qkv, const AttentionSpec& spec, const RopeSpec& rope) = 0;
};

// Every op is `inner`'s, bit by bit. Neither argument is owned; without an observer nothing is shown.
class ObservingOps : public Ops {
 public:
  explicit ObservingOps(Ops& inner) : inner_(inner) {}
  void set_observer(OpsObserver* observer) { observer_ = observer; }

  const BackendInfo& info() const override { return inner_.info(); }
  Result<Buffer> allocate(size_t bytes) override { return inner_.allocate(bytes); }
  void upload(void* device, const void* host, size_t bytes) override { inner_.upload(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override {
    inner_.download(host, device, bytes);
  }
  Fence fence() override { return inner_.fence(); }
  Status wait(Fence fence) override { return inner_.wait(fence); }
  void mark() override { inner_.mark(); }
  Result<std::vector<double>> take_marks() override { return inner_.take_marks(); }
  size_t scratch_bytes(const OpsLimits& limits) const override { return inner_.scratch_bytes(limits); }
  Status reserve(const OpsLimits& limits) override { return inner_.reserve(limits); }
  Status check_attention(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) const override {
    return inner_.check_attention(spec, quant, page_size);
  }
  Result<std::unique_ptr<PackedLinear>> pack(const LinearWeights& weights) override {
    return inner_.pack(weights);
  }
  size_t kv_page_bytes(const AttentionSpec& spec, const KvQuant& quant, int32_t page_size) const override {
    return inner_.kv_page_bytes(spec, quant, page_size);
  }
  BatchView stage(const ForwardBatch& batch) override { return inner_.stage(batch); }
  void embed(const BatchView& batch, const View& table, const View& x) override {
    inner_.embed(batch, table, x);
  }
  void norm(const View& x, const float* gamma, float eps, const QView& out) override {
    inner_.norm(x, gamma, eps, out);
  }
  void linear(const QView& a, const PackedLinear& w, const View& d) override {
    if (observer_ != nullptr) observer_->on_linear(a, w);
    inner_.linear(a, w, d);
  }
  void linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) override {
    if (observer_ != nullptr) observer_->on_linear(a, w);
    inner_.linear_add(a, w, scratch, x);
  }
  void linear_silu_mul(const QView& a, const PackedLinear& w, const View& scratch,
                       const QView& out) override {
    if (observer_ != nullptr) observer_->on_linear(a, w);
    inner_.linear_silu_mul(a, w, scratch, out);
  }
  void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec, const RopeSpec& rope,
                     const KvLayer& kv, const View& q) override {
    if (observer_ != nullptr) observer_->on_keys_values(qkv, spec, rope);
    inner_.rope_write_kv(qkv, batch, spec, rope, kv, q);
  }
  void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                 const QView& out) override {
    inner_.attention(q, batch, spec, kv, out);
  }
  void quantize(const View& x, const QView& out) override { inner_.quantize(x, out); }
  void silu_mul(const View& gate_up, const QView& out) override { inner_.silu_mul(gate_up, out); }
  void gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out) override {
    inner_.gather_rows(x, rows, n_rows, out);
  }
  void sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) override {
    inner_.sample(logits, sampling, out);
  }

 private:
  Ops& inner_;
  OpsObserver* observer_ = nullptr;
};

}  // namespace octet
