#include "advise/layer_plan.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

const std::vector<LayerChoice> kChoices = {
    {"bf16", 3, {0, 0, 0, 0}}, {"int8", 1, {0.1, 0.01, 0.02, 0.01}}, {"fp8", 2, {0.02, 0.01, 0.03, 0.01}}};

TEST(LayerPlan, TheWorstLayersChangeFirst) {
  EXPECT_EQ(*plan_layers(kChoices, 1), (std::vector<size_t>{1, 1, 1, 1}));
  EXPECT_EQ(*plan_layers(kChoices, 0.061), (std::vector<size_t>{2, 1, 1, 1}));
  EXPECT_EQ(*plan_layers(kChoices, 0.041), (std::vector<size_t>{0, 1, 1, 1}));
  EXPECT_EQ(*plan_layers(kChoices, 0), (std::vector<size_t>{0, 0, 0, 0}));
}

TEST(LayerPlan, SaysWhereNothingHelps) {
  EXPECT_FALSE(plan_layers({kChoices[1]}, 0.05).ok());
}

}  // namespace
}  // namespace octet
