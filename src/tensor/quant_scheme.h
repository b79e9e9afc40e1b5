// How a linear layer's weights and inputs are represented. Plain data in the words of the compressed-tensors
// format (strategy: tensor, channel, token, group; dynamic or static; symmetric or not), validated once at
// load, printable.
//
//   value = scale * (q - zero_point)
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace octet {

enum class QType : uint8_t { kF32, kF16, kBF16, kInt8, kFp8 };  // the first three carry no scale

// Who shares one scale.
enum class QScale : uint8_t {
  kNone,     // 16 or 32 bit
  kTensor,   // the whole matrix
  kChannel,  // one output channel (a row of the weight)
  kToken,    // one token (a row of the activations)
};

struct QuantArgs {
  QType type = QType::kBF16;
  QScale scale = QScale::kNone;
  bool dynamic = false;   // the scale is found from the values at run time
  bool symmetric = true;  // false: a zero point belongs to each scale

  bool quantized() const { return type == QType::kInt8 || type == QType::kFp8; }
  bool operator==(const QuantArgs&) const = default;
};

struct QuantScheme {
  QuantArgs weight, input;
  bool operator==(const QuantScheme&) const = default;
};

// "w:int8/channel a:int8/token/dynamic"
std::string to_string(const QuantArgs& args);
std::string to_string(const QuantScheme& scheme);

size_t qtype_bytes(QType type);

// A scheme by the name users give: bf16, fp16, f32, int8-minmax, fp8.
// Errors: kUnsupported for a calibrated scheme that exists but is not built yet, kInvalidArgument for an
// unknown name; both list what there is.
Result<QuantScheme> scheme_by_name(const std::string& name);
std::vector<std::string> scheme_names();
// The user's name of a scheme, or its printed form where none fits.
std::string scheme_name(const QuantScheme& scheme);

// The representation of the key-value cache. Scales of int8 and fp8 are dynamic, one a token and head, unless
// static scales come with the checkpoint (one for K and one for V a layer).
struct KvQuant {
  QType type = QType::kBF16;  // kBF16, kF16, kInt8, kFp8
  bool operator==(const KvQuant&) const = default;
};
// "auto" (the model's 16-bit type), bf16, fp16, int8, fp8
Result<KvQuant> kv_quant_by_name(const std::string& name, QType model_type);
std::string to_string(const KvQuant& kv);

}  // namespace octet
