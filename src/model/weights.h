// From a checkpoint's tensors to packed weights: which modules are multiplied together, in which scheme.
//
//   qkv      <- q_proj, k_proj, v_proj        one matrix where their schemes agree
//   gate_up  <- gate_proj, up_proj
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backend/ops.h"
#include "formats/checkpoint.h"
#include "formats/host_linear.h"

namespace octet {

// Linear layers that read the same input: one packed matrix where the schemes (and, where static, the scales
// of the input) agree, else one for each, writing side by side into the columns of one result.
struct LinearGroup {
  struct Part {
    std::unique_ptr<PackedLinear> weight;
    int64_t column = 0;  // where its output begins
    // Of a static input, in the backend's memory and as numbers; zero_point where it has one.
    Buffer input_scale, input_zero_point;
    float static_scale = 0;
    int32_t static_zero_point = 0;
  };
  std::vector<Part> parts;
  int64_t n = 0, k = 0;

  // True where all parts take their input in the same form, so that the producer can write it directly.
  bool uniform_input() const;
};

struct LayerWeights {
  Buffer attention_norm, mlp_norm;  // f32 [hidden]
  Buffer q_norm, k_norm;            // f32 [head_dim], Qwen3 only
  LinearGroup qkv, o, gate_up, down;
};

struct ModelWeights {
  View embedding;  // [vocab, hidden], 16 bit
  Buffer embedding_data;
  std::vector<LayerWeights> layers;
  Buffer final_norm;
  LinearGroup head;
  int64_t bytes = 0;  // everything above
};

// The scheme in which every linear module (lm_head included) is to run: that of the checkpoint, or what is
// asked for. Errors: kInvalidArgument for a bad regular expression, one that matches nothing, or a checkpoint
// that is quantized already; kUnsupported for schemes that need calibration where there is none.
struct SchemeRequest {
  std::string scheme;   // empty: as the checkpoint says
  std::string exclude;  // regex over module names that stay 16 bit
  std::vector<std::string>
      overrides;  // "REGEX=SCHEME"; the last that matches wins, over `scheme` and the head's rule
  bool quantize_head = false;
  bool calibrated = false;  // scales and smoothing will come from data
  bool random = false;      // the weights mean nothing: static scales are as good as any, see read_linear
};
Result<std::map<std::string, QuantScheme>> assign_schemes(const Checkpoint& checkpoint,
                                                          const SchemeRequest& request);

// The type of everything that is not quantized (embedding, norms where exact, default of the KV cache): that
// of the plain linear layers, else the checkpoint's; float32 checkpoints run in bfloat16.
QType plain_type(const Checkpoint& checkpoint, const std::map<std::string, QuantScheme>& schemes);

// The modules that are packed together as one group.
std::vector<std::string> qkv_modules(int32_t layer);
std::vector<std::string> gate_up_modules(int32_t layer);

// One module's weight in its scheme: codes as stored where the checkpoint is quantized, else quantized from
// its values (without an input scale: those come from calibration). Used by the loader and by the checkpoint
// writer alike.
Result<HostLinear> read_linear(const Checkpoint& checkpoint, const std::string& module,
                               const QuantScheme& scheme);
LinearWeights view_of(const HostLinear& linear);

Result<LayerWeights> load_layer(const Checkpoint& checkpoint, int32_t layer,
                                const std::map<std::string, QuantScheme>& schemes, Ops& ops);
Result<ModelWeights> load_weights(const Checkpoint& checkpoint,
                                  const std::map<std::string, QuantScheme>& schemes, Ops& ops);

// Bytes that load_weights will take, from shapes alone.
int64_t weight_bytes(const Checkpoint& checkpoint, const std::map<std::string, QuantScheme>& schemes);

}  // namespace octet
