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

// The first three carry no scale. Two codes of kInt4 share a byte, the even column in the low four bits; a
// code is q + 8, q in [-8, 7].
enum class QType : uint8_t { kF32, kF16, kBF16, kInt8, kFp8, kInt4 };

// Who shares one scale.
enum class QScale : uint8_t {
  kNone,     // 16 or 32 bit
  kTensor,   // the whole matrix
  kChannel,  // one output channel (a row of the weight)
  kToken,    // one token (a row of the activations)
  kGroup,    // `group_size` columns of one output channel; the last group of a row may be shorter
};

struct QuantArgs {
  QType type = QType::kBF16;
  QScale scale = QScale::kNone;
  bool dynamic = false;   // the scale is found from the values at run time
  bool symmetric = true;  // false: a zero point belongs to each scale
  int32_t group_size = 0;
  // Dynamic inputs only, 0: none.
  float outlier = 0;       // LLM.int8(): values of this magnitude or more stay in bfloat16, beside codes of 0
  float absmax_limit = 0;  // the scale is made for this magnitude at most: what lies beyond saturates

  bool quantized() const { return type == QType::kInt8 || type == QType::kFp8 || type == QType::kInt4; }
  bool operator==(const QuantArgs&) const = default;
};

struct QuantScheme {
  QuantArgs weight, input;
  // The input's scale (and zero point) comes with the weights.
  bool static_input() const { return input.quantized() && !input.dynamic; }
  bool operator==(const QuantScheme&) const = default;
};

// "w:int8/channel a:int8/token/dynamic"
std::string to_string(const QuantArgs& args);
std::string to_string(const QuantScheme& scheme);

// Bytes of one code; of kInt4, which has none of its own: code_bytes.
size_t qtype_bytes(QType type);
// Bytes of a row of k codes.
size_t code_bytes(QType type, int64_t k);
// Scales of a weight [n, k], row-major by channel where there are several a channel; 0 for 16 and 32 bit.
int64_t scale_count(const QuantArgs& weight, int64_t n, int64_t k);
// Groups of columns that have a scale of their own: 1 but for kGroup.
int64_t group_count(const QuantArgs& weight, int64_t k);

// Whether operands of these kinds are multiplied at all: 16 bit with its own kind, 8 bit with its own type,
// weights alone of int8, fp8 or int4 with 16-bit inputs. kUnsupported says what is wrong.
Status check_scheme(const QuantScheme& scheme);

// A scheme by the name users give: bf16, fp16, f32, int8-minmax, int8, int8-static, int8-static-asym, fp8,
// fp8-static, llm-int8 (llm-int8:5.5 for another threshold than 6), w8a16, w8a16-fp8, w4a16 (w4a16:64 for
// another group size than 128). kInvalidArgument for an unknown name, listing those that there are.
Result<QuantScheme> scheme_by_name(const std::string& name);
std::vector<std::string> scheme_names();
// Whether quantizing to it takes data: scales of inputs, or smoothed weights.
bool scheme_is_calibrated(const std::string& name);
// The user's name of a scheme, or its printed form where none fits. `smoothed`: of a checkpoint whose weights
// took over outliers, which turns int8-minmax into int8.
std::string scheme_name(const QuantScheme& scheme, bool smoothed = false);

// The representation of the key-value cache. Scales of int8 and fp8 are dynamic, one a token and head, or
// static: they come with the checkpoint, for K and for V of every layer one for all heads, or one for each.
struct KvQuant {
  QType type = QType::kBF16;  // kBF16, kF16, kInt8, kFp8; kF32 on the reference alone
  bool dynamic = true;
  bool per_head = false;  // of static scales; what runs has one for each head in either case
  bool quantized() const { return type == QType::kInt8 || type == QType::kFp8; }
  bool operator==(const KvQuant&) const = default;
};
// "auto" (the model's 16-bit type), bf16, fp16, int8, fp8, f32
Result<KvQuant> kv_quant_by_name(const std::string& name, QType model_type);
std::string to_string(const KvQuant& kv);

}  // namespace octet
