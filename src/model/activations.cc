#include "model/activations.h"

#include <algorithm>

namespace octet {
namespace {

// Of gate_up and of product, which is never wanted at the same time.
int64_t scratch_cols(const ActivationSizes& s) {
  return std::max(2 * s.intermediate, s.hidden);
}

int64_t widest_input(const ActivationSizes& s) {
  return std::max({s.hidden, s.q, s.intermediate});
}

}  // namespace

// The widest form is float32; codes of one byte with their outliers of two take less.
int64_t QuantSlot::bytes(int64_t rows, int64_t cols) {
  const auto f32 = static_cast<int64_t>(sizeof(float)), count = static_cast<int64_t>(sizeof(int32_t));
  return rows * (cols * f32 + f32 + count);
}

Result<QuantSlot> QuantSlot::create(Ops& ops, int64_t rows, int64_t cols) {
  QuantSlot slot;
  slot.rows_ = rows;
  slot.cols_ = cols;
  OCTET_ASSIGN_OR_RETURN(slot.data_, ops.allocate(static_cast<size_t>(rows * cols) * sizeof(float)));
  OCTET_ASSIGN_OR_RETURN(slot.scale_, ops.allocate(static_cast<size_t>(rows) * sizeof(float)));
  OCTET_ASSIGN_OR_RETURN(slot.outlier_count_, ops.allocate(static_cast<size_t>(rows) * sizeof(int32_t)));
  return slot;
}

QView QuantSlot::view(const QuantArgs& args, int64_t rows) const {
  QView v;
  v.data = data_.data();
  v.args = args;
  v.rows = rows;
  v.cols = v.stride = cols_;
  v.scale = args.scale == QScale::kToken ? scale_.as<float>() : nullptr;
  if (args.outlier > 0) {  // in the second half of the memory, behind the codes
    v.outliers = data_.as<uint16_t>() + rows_ * cols_;
    v.outlier_count = outlier_count_.as<int32_t>();
  }
  const auto room = static_cast<int64_t>(data_.bytes()) / (args.outlier > 0 ? 2 : 1);
  v.rows_there = room / (cols_ * static_cast<int64_t>(qtype_bytes(args.type)));
  return v;
}

QView input_of(const LinearGroup::Part& part, const QuantSlot& slot, int64_t rows) {
  QView a = slot.view(part.weight->scheme.input, rows);
  if (part.weight->scheme.static_input()) {
    a.scale = part.input_scale.as<float>();
    a.zero_point = part.input_zero_point.as<int32_t>();
  }
  return a;
}

int64_t ActivationSizes::bytes() const {
  const auto element = static_cast<int64_t>(dtype_bytes(type, 1));
  const auto f32 = static_cast<int64_t>(sizeof(float));
  const int64_t views = tokens * (hidden + 2 * q + 2 * kv + scratch_cols(*this)) + logits * hidden;
  return views * element + (logits * vocab + tokens * widest_input(*this)) * f32 +
         QuantSlot::bytes(tokens, hidden) + QuantSlot::bytes(tokens, q) +
         QuantSlot::bytes(tokens, intermediate);
}

Result<Activations> Activations::create(Ops& ops, const ActivationSizes& s) {
  Activations a;
  const auto make = [&](View& view, DType type, int64_t rows, int64_t cols) -> Status {
    OCTET_ASSIGN_OR_RETURN(auto buffer, ops.allocate(dtype_bytes(type, static_cast<size_t>(rows * cols))));
    view = {buffer.data(), type, rows, cols, cols};
    a.buffers_.push_back(std::move(buffer));
    return {};
  };
  OCTET_RETURN_IF_ERROR(make(a.x, s.type, s.tokens, s.hidden));
  OCTET_RETURN_IF_ERROR(make(a.qkv, s.type, s.tokens, s.q + 2 * s.kv));
  OCTET_RETURN_IF_ERROR(make(a.q, s.type, s.tokens, s.q));
  View scratch;
  OCTET_RETURN_IF_ERROR(make(scratch, s.type, s.tokens, scratch_cols(s)));
  a.gate_up = {scratch.data, s.type, s.tokens, 2 * s.intermediate, 2 * s.intermediate};
  a.product = {scratch.data, s.type, s.tokens, s.hidden, s.hidden};
  OCTET_RETURN_IF_ERROR(make(a.x_last, s.type, s.logits, s.hidden));
  OCTET_RETURN_IF_ERROR(make(a.logits, DType::kF32, s.logits, s.vocab));
  OCTET_RETURN_IF_ERROR(make(a.plain, DType::kF32, s.tokens, widest_input(s)));
  OCTET_ASSIGN_OR_RETURN(a.normed, QuantSlot::create(ops, s.tokens, s.hidden));
  OCTET_ASSIGN_OR_RETURN(a.attended, QuantSlot::create(ops, s.tokens, s.q));
  OCTET_ASSIGN_OR_RETURN(a.activated, QuantSlot::create(ops, s.tokens, s.intermediate));
  return a;
}

}  // namespace octet
