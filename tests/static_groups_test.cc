// Layers that read one input share its codes where their static scales agree, and are multiplied apart where
// not.
#include <gtest/gtest.h>

#include "backend/reference/reference_ops.h"
#include "model/weights.h"

namespace octet {
namespace {

constexpr char kModel[] = "tests/golden/models/llama31-fp8-static-kv8";

std::unique_ptr<LinearGroup> qkv_of(const Checkpoint& checkpoint, Ops& ops) {
  auto schemes = assign_schemes(checkpoint, {});
  EXPECT_TRUE(schemes.ok()) << schemes.status().message();
  auto weights = load_weights(checkpoint, *schemes, ops);
  EXPECT_TRUE(weights.ok()) << weights.status().message();
  return std::make_unique<LinearGroup>(std::move(weights->layers[1].qkv));
}

TEST(StaticGroups, OneMatrixWhereScalesAgreeAndOneEachWhereNot) {
  const auto ops = make_reference_ops();
  auto checkpoint = *Checkpoint::open(kModel);
  const auto together = qkv_of(*checkpoint, *ops);
  ASSERT_EQ(together->parts.size(), 1u);
  EXPECT_TRUE(together->uniform_input());
  // One scale a matrix became one a channel.
  EXPECT_EQ(together->parts[0].weight->scheme.weight.scale, QScale::kChannel);

  auto& scale = checkpoint->tensors.at("model.layers.1.self_attn.k_proj.input_scale");
  const uint8_t other[2] = {0x80, 0x3e};  // 0.25
  scale.data = other;
  const auto apart = qkv_of(*checkpoint, *ops);
  ASSERT_EQ(apart->parts.size(), 3u);
  EXPECT_FALSE(apart->uniform_input());
  EXPECT_EQ(apart->parts[1].static_scale, 0.25f);
  EXPECT_EQ(apart->parts[1].column, apart->parts[0].weight->n);
  EXPECT_EQ(apart->parts[0].static_scale, apart->parts[2].static_scale);
  float stored = 0;
  ops->download(&stored, apart->parts[1].input_scale.data(), sizeof(stored));
  EXPECT_EQ(stored, 0.25f);
  EXPECT_EQ(apart->n, together->n);
}

}  // namespace
}  // namespace octet
