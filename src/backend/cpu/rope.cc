#include "backend/cpu/rope.h"

#include "backend/cpu/encode.h"

namespace octet::cpu {
namespace {

// Where a token's K or V of one head goes.
struct Target {
  uint8_t* panel;
  float* scale;         // null for 16 bit
  int32_t first, step;  // element of dimension i: first + i / pair_step * step + i % pair_step
  int32_t pair_step;
  int32_t mate;  // distance in elements to the other key of a pair that must be cleared; 0: none
};

template <class T>
void scatter(const void* codes, int32_t n, const Target& to) {
  const T* in = static_cast<const T*>(codes);
  T* out = reinterpret_cast<T*>(to.panel) + to.first;
  if (to.pair_step == 2) {
    for (int32_t i = 0; i < n; i += 2, out += to.step) {
      out[0] = in[i];
      out[1] = in[i + 1];
    }
    return;
  }
  for (int32_t i = 0; i < n; ++i, out += to.step) *out = in[i];
  if (to.mate != 0) {
    out = reinterpret_cast<T*>(to.panel) + to.first + to.mate;
    for (int32_t i = 0; i < n; ++i, out += to.step) *out = 0;
  }
}

// x [head_dim] in the cache's type into its panel; codes: scratch of head_dim floats.
// static_scale null: the scale is found from the values.
void write(const RowKernels& kernels, const float* x, const KvLayout& layout, const float* static_scale,
           const Target& to, float* codes) {
  QView out{codes, {.type = layout.type}, 1, layout.head_dim, layout.head_dim, to.scale, nullptr};
  if (layout.eight_bit()) {
    out.args.dynamic = static_scale == nullptr;
    out.args.scale = out.args.dynamic ? QScale::kToken : QScale::kTensor;
    if (!out.args.dynamic) *to.scale = *static_scale;
  }
  encode_row(kernels, x, out, 0, nullptr);
  if (layout.code_bytes == 1) {
    scatter<uint8_t>(codes, layout.head_dim, to);
  } else {
    scatter<uint16_t>(codes, layout.head_dim, to);
  }
}

}  // namespace

void rope_write_token(const RowKernels& kernels, const View& qkv, const BatchView& batch,
                      const AttentionSpec& spec, const RopeSpec& rope, const KvLayer& kv,
                      const KvLayout& layout, const View& q, int32_t t, float* scratch) {
  const int32_t d = spec.head_dim, half = d / 2;
  float *normed = scratch, *rotated = scratch + d, *codes = scratch + 2 * d;
  const float* cos = rope.cos_sin + int64_t{batch.positions[t]} * d;
  const float* head = qkv.row<const float>(t);
  const auto norm_and_rotate = [&](const float* x, const float* gamma, float* out) {
    if (gamma != nullptr) {
      kernels.norm(x, gamma, rope.norm_eps, d, normed);
      x = normed;
    }
    kernels.rotate(x, cos, cos + half, half, out);
  };
  for (int32_t h = 0; h < spec.n_heads; ++h, head += d)
    norm_and_rotate(head, rope.q_norm, q.row<float>(t) + h * d);

  const int32_t slot = batch.slots[t], offset = slot % layout.page_size;
  auto* page =
      static_cast<uint8_t*>(kv.data) + static_cast<size_t>(slot / layout.page_size) * layout.page_bytes;
  // The other half of a V pair is multiplied by p = 0 as long as its key is not written: an earlier
  // sequence's NaN there would survive that. Unless this very step writes it, clear it.
  const bool next_is_written = t + 1 < batch.n_tokens && batch.slots[t + 1] == slot + 1;
  const bool clear_mate = layout.pair == 2 && offset % 2 == 0 && !next_is_written;
  const auto scale_of = [&](uint8_t* scales) {
    return layout.eight_bit() ? reinterpret_cast<float*>(scales) + offset : nullptr;
  };
  for (int32_t h = 0; h < spec.n_kv_heads; ++h, head += d) {
    uint8_t* block = page + static_cast<size_t>(h) * layout.head_bytes;
    float* scale = scale_of(block + layout.k_scale_offset);
    const Target k{block, scale, layout.k_index(offset, 0), layout.page_size * layout.pair, layout.pair, 0};
    norm_and_rotate(head, rope.k_norm, rotated);
    write(kernels, rotated, layout, kv.quant.dynamic ? nullptr : kv.k_scale + h, k, codes);
  }
  for (int32_t h = 0; h < spec.n_kv_heads; ++h, head += d) {
    uint8_t* block = page + static_cast<size_t>(h) * layout.head_bytes;
    float* scale = scale_of(block + layout.v_scale_offset);
    const Target v{block + layout.v_offset, scale, layout.v_index(offset, 0), layout.pair, 1,
                   clear_mate ? 1 : 0};
    write(kernels, head, layout, kv.quant.dynamic ? nullptr : kv.v_scale + h, v, codes);
  }
}

}  // namespace octet::cpu
