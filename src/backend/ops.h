// THE contract between models and devices: about ten fused operations, and memory. Above it nobody knows a
// device, below it nobody knows a model.
//
// Rules. Every op works on the backend's own stream, asynchronously where the device is; `synchronize` waits.
// No op allocates after `reserve`. Shapes and types are the caller's promise (CHECKed); what users give was
// refused earlier. `reference/` is the specification, op by op; every backend is compared with it by
// ops_test.cc.
//
// Batch invariance: on every backend, with INT8 linear layers, the result for a row depends on that row and
// its own sequence alone, never on which rows share the step, nor on how its prompt was cut into chunks. The
// CPU backends keep this for every scheme.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/batch.h"
#include "backend/sampling.h"
#include "tensor/view.h"

namespace octet {

// Rows of a weight before they are quantized: [n, k] f32, f16 or bf16 without gaps.
struct ValueRows {
  const void* data = nullptr;
  DType type = DType::kBF16;
  int64_t n = 0;
};

// A linear layer's weight as it comes from the loader, in host memory: row-major [n, k], already in its
// scheme's codes.
struct LinearWeights {
  int64_t n = 0, k = 0;
  QuantScheme scheme;
  const void* data =
      nullptr;  // [n, code_bytes(k)] codes of scheme.weight.type (bf16/f16/f32 bits, int8, e4m3, int4)
  const float* scale = nullptr;  // [n] kChannel, [1] kTensor, [n, groups] kGroup, null for 16 and 32 bit
  const float* bias = nullptr;   // [n] or null
  // Instead of data and scale, where BackendInfo.quantizes_weights: values of all n rows, in order, that pack
  // turns into codes with the bits of tensor/quantize_rows. For weights of 16 bit, or of 8 with one scale a
  // channel.
  std::vector<ValueRows> values;
  // [1] where the input is static, else null. A QView brings the same values in the backend's memory: these
  // are for backends that fold them into their own copy of the weight.
  const float* input_scale = nullptr;
  const int32_t* input_zero_point = nullptr;  // where it has one, in [-128, 127]
  // For linear_silu_mul alone: the first n / 2 rows are gates, the others what they are multiplied by.
  bool gated = false;
};

// The same weight in the backend's own layout (tile order, swizzle, column sums: private to the backend).
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  int64_t n = 0, k = 0;
  QuantScheme scheme;
  size_t bytes = 0;  // of device memory
};

// Heads and sizes of one attention layer.
struct AttentionSpec {
  int32_t n_heads = 0, n_kv_heads = 0, head_dim = 0;
  float softmax_scale = 0;  // 1 / sqrt(head_dim)
  int32_t window = 0;       // sliding window: a query sees this many keys, itself included; 0: all before it
};

// One layer of the paged key-value cache. What a page holds inside is the backend's own; sizes come from
// kv_page_bytes.
struct KvLayer {
  void* data = nullptr;  // [n_pages] pages of kv_page_bytes each
  KvQuant quant;
  int32_t page_size = 0;  // tokens a page
  const float* k_scale =
      nullptr;  // [n_kv_heads] where quant is 8 bit and static, in the backend's memory; else null
  const float* v_scale = nullptr;
};

// Rotation by position, and the norms some families apply to single heads before it.
struct RopeSpec {
  const float* cos_sin =
      nullptr;  // [max_positions, head_dim]: cos of head_dim/2 frequencies, then sin of the same
  const float* q_norm = nullptr;  // [head_dim] RMSNorm weights (Qwen3) or null
  const float* k_norm = nullptr;
  float norm_eps = 0;
};

struct BackendInfo {
  std::string name;                // "cpu", "reference", "cuda"
  std::string device;              // what the user knows it by: "AMD EPYC 9R14, 2 threads, avx512"
  DType activation = DType::kF32;  // the type of the residual stream and of linear's results
  int32_t page_size = 16;          // the KV page size it likes best
  int32_t step_tokens = 2048;      // tokens of prompts that fill a step well
  int64_t memory_available = 0;    // bytes free for a model when the backend was made; 0: unknown
  bool own_memory = false;         // that memory is for the model alone: the cache may take all that is left
  bool quantizes_weights = false;  // pack takes LinearWeights.values
  bool fuses_silu_mul = false;     // linear_silu_mul is not linear, then silu_mul
  bool runs_ahead = false;         // ops return before they are done: the host may plan a step while one runs
};

// A point in a backend's stream of work.
using Fence = int32_t;
inline constexpr int32_t kMaxFences = 2;

// Sizes that bound every later call: scratch memory is taken once, for these.
struct OpsLimits {
  int32_t max_tokens = 0;  // in a step
  int32_t max_seqs = 0;
  int32_t max_context = 0;  // of one sequence
  int32_t max_logits = 0;   // rows of logits in a step
  int32_t vocab_size = 0;
  int64_t max_cols = 0;  // widest activation
  AttentionSpec attention;
};

class Ops {
 public:
  virtual ~Ops() = default;
  virtual const BackendInfo& info() const = 0;

  // --- memory
  // -------------------------------------------------------------------------------------------------
  virtual Result<Buffer> allocate(size_t bytes) = 0;  // zeroed, aligned to 64 bytes at least
  virtual void upload(void* device, const void* host, size_t bytes) = 0;
  virtual void download(void* host, const void* device, size_t bytes) = 0;  // waits for the stream

  // A point in the stream, behind everything that was asked for so far; at most kMaxFences are open at a
  // time. `wait` returns once the device has passed it. Errors: kInternal where the device failed since the
  // last call; it stays failed, and every later result is worthless.
  virtual Fence fence() { return 0; }
  virtual Status wait(Fence) { return {}; }
  Status synchronize() { return wait(fence()); }

  // A stopwatch on the stream, for who measures; never within a step that `run` may record. The device passes
  // a mark once everything that was asked for before is done. `take_marks` waits for those set since it was
  // last called and gives their times, in seconds from the first of them.
  virtual void mark() = 0;
  virtual Result<std::vector<double>> take_marks() = 0;

  // Bytes of scratch that `reserve` will take for these limits; part of the memory plan shown to the user.
  virtual size_t scratch_bytes(const OpsLimits& limits) const = 0;
  virtual Status reserve(const OpsLimits& limits) = 0;
  // kUnsupported, naming it, where there is no kernel for these heads or this cache.
  virtual Status check_attention(const AttentionSpec&, const KvQuant&, int32_t /*page_size*/) const {
    return {};
  }
  virtual Result<std::unique_ptr<PackedLinear>> pack(const LinearWeights& weights) = 0;
  virtual size_t kv_page_bytes(const AttentionSpec& spec, const KvQuant& quant,
                               int32_t page_size) const = 0;  // one layer

  // --- one step
  // ---------------------------------------------------------------------------------------------------
  // Makes the batch readable by the ops below; valid until the next call. A view may have more tokens,
  // sequences and rows of logits than the batch: a device that replays recorded steps rounds their number up.
  // Rows too many belong to no sequence, write nothing into the cache and give results that nobody reads.
  virtual BatchView stage(const ForwardBatch& batch) = 0;

  // Runs `step`, which calls ops alone and takes its sizes from `batch` alone: a device may record the calls
  // once and replay them for every batch of the same sizes, which costs the host one launch instead of
  // hundreds.
  virtual void run(const BatchView& batch, const std::function<void(const BatchView&)>& step) { step(batch); }

  // x[i] = table[token_ids[i]]; table [vocab, hidden] f32, f16 or bf16; x [n_tokens, hidden] activation type.
  virtual void embed(const BatchView& batch, const View& table, const View& x) = 0;

  // out = quant(rmsnorm(x) * gamma); x [rows, cols], gamma f32 [cols]. rmsnorm(x) = x / sqrt(mean(x^2) +
  // eps).
  virtual void norm(const View& x, const float* gamma, float eps, const QView& out) = 0;

  // d = (a . w^T) * a_scale[row] * w_scale[col] + bias, a zero point of a taken off its codes first. a [m, k]
  // in w.scheme.input's form, d [m, n] activation type.
  //   kGroup      the sum over each group of columns has its own w_scale
  //   outliers    d += (outliers . w^T) * w_scale[col]: their products are those of 16-bit values
  virtual void linear(const QView& a, const PackedLinear& w, const View& d) = 0;

  // x += what linear(a, w) gives. scratch: a view like x whose memory may be used.
  virtual void linear_add(const QView& a, const PackedLinear& w, const View& scratch, const View& x) = 0;

  // out = quant(silu(gate) * up), [gate, up] what linear(a, w) gives; w was packed as `gated`, a's rows lie
  // without gaps. scratch [m, n] activation type: memory that may be used.
  virtual void linear_silu_mul(const QView& a, const PackedLinear& w, const View& scratch, const QView& out) {
    linear(a, w, scratch);
    silu_mul(scratch, out);
  }

  // qkv [n_tokens, (n_heads + 2 n_kv_heads) * head_dim]: normalizes (where given) and rotates q and k, writes
  // q to `q` [n_tokens, n_heads * head_dim] and k, v into the cache at batch.slots. Pairs are (i, i +
  // head_dim/2).
  virtual void rope_write_kv(const View& qkv, const BatchView& batch, const AttentionSpec& spec,
                             const RopeSpec& rope, const KvLayer& kv, const View& q) = 0;

  // Causal attention of every token over its sequence's cached keys up to its own position; out =
  // quant(result).
  virtual void attention(const View& q, const BatchView& batch, const AttentionSpec& spec, const KvLayer& kv,
                         const QView& out) = 0;

  // out = quant(x)
  virtual void quantize(const View& x, const QView& out) = 0;

  // out = quant(silu(gate) * up); gate_up [rows, 2 * cols], gate first; silu(v) = v / (1 + exp(-v)).
  virtual void silu_mul(const View& gate_up, const QView& out) = 0;

  // out[i] = x[rows[i]]
  virtual void gather_rows(const View& x, const int32_t* rows, int32_t n_rows, const View& out) = 0;

  // One token for each of sampling.rows, from as many rows of logits [n, vocab] f32; see sampling.h. `out` is
  // host memory, readable once a fence set after this call has been passed. The next step may name these
  // tokens before that: batch.h, from_row.
  virtual void sample(const View& logits, const SamplingBatch& sampling, SampledToken* out) = 0;
};

}  // namespace octet
