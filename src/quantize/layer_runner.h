// Runs token sequences through a 16-bit model one layer at a time and keeps what each layer's linear layers
// read. One layer's weights and inputs are in memory, and the hidden states of all tokens, never the whole
// model.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/observing_ops.h"
#include "formats/checkpoint.h"
#include "model/llama.h"
#include "model/model_sizes.h"

namespace octet {

// The four inputs that a layer's linear layers read, and the head's.
enum class InputKind : uint8_t { kQkv, kO, kGateUp, kDown, kHead };
inline constexpr int kLayerInputs = 4;

// The modules that read such an input, stacked in this order.
std::vector<std::string> modules_of_input(int32_t layer, InputKind kind);
// "model.layers.3.mlp.down_proj input"
std::string input_name(int32_t layer, InputKind kind);

// Rows of 16-bit values as the layers read them.
struct ObservedRows {
  QType type = QType::kBF16;
  int64_t rows = 0, cols = 0;
  std::vector<uint16_t> values;  // [rows, cols]

  void read(int64_t row, float* out) const;  // [cols]
  // max |x| over the rows [0, end), by column.
  std::vector<float> absmax(int64_t end) const;
  // The least and the largest value over the same, by column; 0 is always between them.
  struct Extremes {
    std::vector<float> low, high;  // [cols]
  };
  Extremes extremes(int64_t end) const;
  // (mean |x|^p)^(1/p) over the same, by column.
  std::vector<float> power_mean(int64_t end, int p) const;
};

struct LayerInputs {
  ObservedRows inputs[kLayerInputs];      // by InputKind
  std::vector<float> k_absmax, v_absmax;  // [n_kv_heads]; of k the longest pair: rotation cannot exceed it
};

class LayerRunner {
 public:
  // `ops` outlives the runner. `sequences` all have the same length, of one step. Errors: no memory, a
  // sequence longer than the model was made for.
  static Result<std::unique_ptr<LayerRunner>> create(const Checkpoint& checkpoint, Ops& ops,
                                                     const std::vector<std::vector<int32_t>>& sequences);

  // The next layer on all sequences: its inputs. kCorrupt where one of them is not finite.
  Result<LayerInputs> next_layer();
  // After the last layer: what the head reads.
  Result<ObservedRows> head_input();

  int64_t n_tokens() const { return n_tokens_; }
  int32_t sequence_length() const { return length_; }

 private:
  LayerRunner(const Checkpoint& checkpoint, Ops& ops) : checkpoint_(checkpoint), ops_(ops) {}
  Status embed(const std::vector<std::vector<int32_t>>& sequences);
  Status run(const LayerWeights& weights, LayerInputs* inputs);

  const Checkpoint& checkpoint_;
  ObservingOps ops_;
  ModelSizes sizes_;
  Buffer rope_table_;
  Activations activations_;
  KvCache cache_;              // of one layer
  ForwardBatch batch_;         // one sequence
  std::vector<float> hidden_;  // [n_tokens, hidden]
  int64_t n_tokens_ = 0;
  int32_t length_ = 0, next_ = 0;
};

}  // namespace octet
