// The tensors that a model of a configuration consists of, and the check that a checkpoint has exactly those.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"
#include "formats/model_config.h"

namespace octet {

struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;  // a linear weight: [n, k]
  std::string module;          // of a linear layer's weight, else empty
};

// In order of use. lm_head.weight only where the embeddings are not tied.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config);

// Every expected tensor is there, in its shape and in a type that its scheme allows (I8 or F8_E4M3 with
// scales for a quantized module, otherwise floating point or a block type), and no layer has a tensor that
// the forward pass would leave out. Errors: kCorrupt, kUnsupported.
Status check_tensors(const Checkpoint& checkpoint);

}  // namespace octet
