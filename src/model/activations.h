// All scratch that a forward pass needs, sized once for the largest step.
#pragma once

#include "backend/ops.h"
#include "model/weights.h"

namespace octet {

// Memory for activations in whatever form their consumer wants: a QView of the right type is cut from it on
// demand.
class QuantSlot {
 public:
  static Result<QuantSlot> create(Ops& ops, int64_t rows, int64_t cols);
  QView view(const QuantArgs& args, int64_t rows) const;
  static int64_t bytes(int64_t rows, int64_t cols);

 private:
  Buffer data_, scale_, outlier_count_;
  int64_t rows_ = 0, cols_ = 0;
};

// The input of one part, in the slot's memory, with the scale where that is given.
QView input_of(const LinearGroup::Part& part, const QuantSlot& slot, int64_t rows);

struct ActivationSizes {
  int64_t tokens = 0, logits = 0;
  int64_t hidden = 0, intermediate = 0, q = 0, kv = 0, vocab = 0;
  DType type = DType::kF32;  // of the residual stream and of linear results
  int64_t bytes() const;
};

struct Activations {
  static Result<Activations> create(Ops& ops, const ActivationSizes& sizes);

  View x;        // [tokens, hidden] residual stream
  View qkv, q;   // [tokens, q + 2 kv], [tokens, q]
  View gate_up;  // [tokens, 2 intermediate]
  View product;  // [tokens, hidden] in gate_up's memory: what linear_add may use
  View x_last;   // [logits, hidden] the rows whose next token is wanted
  View logits;   // [logits, vocab] f32
  View plain;    // [tokens, widest input] f32: where one input must be quantized in several ways
  QuantSlot normed, attended, activated;

 private:
  std::vector<Buffer> buffers_;
};

}  // namespace octet
