// assign_schemes: what users ask for, and what they are told where it makes no sense.
#include <gtest/gtest.h>

#include "model/weights.h"

namespace octet {
namespace {

const std::string kUp = "model.layers.3.mlp.up_proj", kQ = "model.layers.3.self_attn.q_proj";

std::shared_ptr<Checkpoint> smollm() {
  return std::move(Checkpoint::random("smollm2-135m")).value();  // rows of 576 and 1,536 columns
}

std::string error_of(const Checkpoint& checkpoint, const SchemeRequest& request) {
  const auto schemes = assign_schemes(checkpoint, request);
  return schemes.ok() ? "no error" : schemes.status().message();
}

TEST(AssignSchemes, TheLastOverrideWinsAndExclusionsWinOverAll) {
  const auto checkpoint = smollm();
  const auto schemes =
      assign_schemes(*checkpoint, {.scheme = "int8-minmax",
                                   .exclude = "layers\\.3\\.mlp",
                                   .overrides = {"mlp=fp8", "up_proj=w8a16", "lm_head=fp8"}});
  ASSERT_TRUE(schemes.ok()) << schemes.status().message();
  EXPECT_EQ(scheme_name(schemes->at(kQ)), "int8-minmax");
  EXPECT_EQ(scheme_name(schemes->at(kUp)), "bf16");
  EXPECT_EQ(scheme_name(schemes->at("model.layers.4.mlp.up_proj")), "w8a16");
  EXPECT_EQ(scheme_name(schemes->at("model.layers.4.mlp.down_proj")), "fp8");
  EXPECT_EQ(scheme_name(schemes->at("lm_head")), "fp8");
}

TEST(AssignSchemes, GroupsFitTheirRows) {
  const auto checkpoint = smollm();
  const auto schemes = assign_schemes(*checkpoint, {.scheme = "w4a16"});
  ASSERT_TRUE(schemes.ok()) << schemes.status().message();
  EXPECT_EQ(schemes->at(kUp).weight.group_size, 64);  // 576 = 9 * 64
  EXPECT_EQ(schemes->at("model.layers.3.mlp.down_proj").weight.group_size, 128);
  checkpoint->config.hidden_size = 600;
  const auto none = assign_schemes(*checkpoint, {.scheme = "w4a16"});
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(to_string(none->at(kUp)), "w:int4/channel a:bf16");
}

TEST(AssignSchemes, SixteenBitInputsAreOfTheModelsType) {
  const auto checkpoint = smollm();
  checkpoint->config.dtype = QType::kF16;
  const auto schemes = assign_schemes(*checkpoint, {.scheme = "w8a16"});
  ASSERT_TRUE(schemes.ok());
  EXPECT_EQ(schemes->at(kUp).input.type, QType::kF16);
  EXPECT_EQ(scheme_name(schemes->at(kUp)), "w8a16");
}

TEST(AssignSchemes, OneLineForWhatMakesNoSense) {
  const auto checkpoint = smollm();
  const auto expect = [&](const SchemeRequest& request, const std::string& part) {
    const std::string error = error_of(*checkpoint, request);
    EXPECT_NE(error.find(part), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  };
  expect({.scheme = "int8-static"},
         "needs calibration, which loading does not do: run `octet quantize MODEL --scheme int8-static");
  expect({.scheme = "fp8", .overrides = {"mlp=fp8-static"}},
         "--override 'mlp=fp8-static': scheme 'fp8-static' needs calibration");
  expect({.scheme = "fp8", .overrides = {"no_such=bf16"}},
         "--override 'no_such=bf16' matches no linear layer");
  expect({.scheme = "fp8", .overrides = {"mlp"}}, "--override 'mlp': expected REGEX=SCHEME");
  expect({.scheme = "fp8", .overrides = {"=fp8"}}, "expected REGEX=SCHEME");
  expect({.scheme = "fp8", .overrides = {"mlp=int9"}}, "--override 'mlp=int9': unknown scheme 'int9'");
  expect({.scheme = "fp8", .overrides = {"((=fp8"}}, "--override '((=fp8': expected a regular expression");
  expect({.scheme = "fp8", .overrides = {"(([a-z._0-9])+)+[!?]=fp8"}}, "takes too many steps");
  expect({.scheme = "fp8", .exclude = "("}, "--exclude '(': expected a regular expression");
  expect({.scheme = "fp8", .exclude = "no_such"}, "--exclude 'no_such' matches no linear layer");
  expect({.overrides = {"mlp=fp8"}}, "go with --scheme");
  EXPECT_EQ(error_of(*checkpoint, {.scheme = "int8-static", .calibrated = true}), "no error");
}

TEST(AssignSchemes, AQuantizedCheckpointKeepsItsScheme) {
  const auto checkpoint = smollm();
  checkpoint->schemes[kUp] = *scheme_by_name("fp8");
  EXPECT_NE(
      error_of(*checkpoint, {.scheme = "fp8"}).find("which is what --scheme fp8 asks for: leave it out"),
      std::string::npos);
  EXPECT_NE(error_of(*checkpoint, {.scheme = "int8-minmax"}).find("--scheme needs a 16-bit checkpoint"),
            std::string::npos);
  checkpoint->schemes[kUp].weight.symmetric = false;
  EXPECT_NE(error_of(*checkpoint, {}).find(kUp + ": scheme w:fp8/channel/asymmetric"), std::string::npos)
      << error_of(*checkpoint, {});
}

}  // namespace
}  // namespace octet
