#include "tensor/quant_scheme.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(QuantScheme, NamesRoundTrip) {
  for (const auto& name : scheme_names()) {
    const auto scheme = scheme_by_name(name);
    ASSERT_TRUE(scheme.ok());
    EXPECT_TRUE(check_scheme(*scheme).ok()) << check_scheme(*scheme).message();
    EXPECT_EQ(scheme_name(*scheme), name == "int8" ? "int8-minmax" : name);  // what is stored is the same
  }
  EXPECT_EQ(to_string(*scheme_by_name("int8-minmax")), "w:int8/channel a:int8/token/dynamic");
  EXPECT_EQ(to_string(*scheme_by_name("w4a16")), "w:int4/group128 a:bf16");
}

TEST(QuantScheme, NumbersAfterAColon) {
  const auto llm = scheme_by_name("llm-int8:4.5"), w4 = scheme_by_name("w4a16:64");
  ASSERT_TRUE(llm.ok() && w4.ok());
  EXPECT_EQ(llm->input.outlier, 4.5f);
  EXPECT_EQ(w4->weight.group_size, 64);
  EXPECT_EQ(scheme_name(*llm), "llm-int8:4.5");
  EXPECT_EQ(scheme_name(*w4), "w4a16:64");
  for (const char* wrong : {"llm-int8:", "llm-int8:0", "llm-int8:-3", "llm-int8:six", "llm-int8:inf",
                            "w4a16:100", "w4a16:0", "w4a16:64.5", "w4a16:1e9", "fp8:3"}) {
    EXPECT_EQ(scheme_by_name(wrong).status().code(), StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(QuantScheme, CalibratedAndUnknownNamesAreToldApart) {
  for (const char* name : {"int8", "int8-static", "int8-static-asym", "fp8-static"}) {
    EXPECT_TRUE(scheme_is_calibrated(name)) << name;
  }
  for (const char* name : {"bf16", "int8-minmax", "fp8", "llm-int8", "w8a16", "w4a16", "llm-int8:5"}) {
    EXPECT_FALSE(scheme_is_calibrated(name)) << name;
  }
  EXPECT_EQ(scheme_by_name("int7").status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(scheme_by_name("int7").status().message().find("int8-minmax"), std::string::npos);
}

TEST(QuantScheme, WhatIsNeverMultipliedIsRefused) {
  const QuantArgs int8_channel{QType::kInt8, QScale::kChannel},
      int8_token{QType::kInt8, QScale::kToken, true}, fp8_token{QType::kFp8, QScale::kToken, true},
      bf16{QType::kBF16}, f32{QType::kF32};
  const QuantArgs int4{.type = QType::kInt4, .scale = QScale::kGroup, .group_size = 128};
  QuantArgs odd_groups = int4, asymmetric = int8_channel, fp8_outliers = fp8_token,
            asymmetric_token = int8_token;
  odd_groups.group_size = 40;
  asymmetric.symmetric = asymmetric_token.symmetric = false;
  fp8_outliers.outlier = 6;
  const std::pair<QuantScheme, const char*> cases[] = {
      {{int8_channel, fp8_token}, "weights of their own type"},
      {{int4, int8_token}, "weights of their own type"},
      {{bf16, int8_token}, "16-bit weights"},
      {{int8_channel, f32}, "8 or 16 bits"},
      {{odd_groups, bf16}, "multiple of 32"},
      {{asymmetric, int8_token}, "zero points"},
      {{int8_channel, asymmetric_token}, "dynamic symmetric scales per token"},
      {{{QType::kFp8, QScale::kChannel}, fp8_outliers}, "int8 only"},
      {{{QType::kFp8, QScale::kGroup, false, true, 128}, bf16}, "fp8 weights"},
  };
  for (const auto& [scheme, part] : cases) {
    const Status status = check_scheme(scheme);
    EXPECT_EQ(status.code(), StatusCode::kUnsupported) << to_string(scheme);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  }
}

TEST(KvQuant, AutoFollowsTheModel) {
  EXPECT_EQ(kv_quant_by_name("auto", QType::kF16)->type, QType::kF16);
  EXPECT_EQ(kv_quant_by_name("auto", QType::kBF16)->type, QType::kBF16);
  EXPECT_EQ(kv_quant_by_name("fp8", QType::kBF16)->type, QType::kFp8);
  EXPECT_FALSE(kv_quant_by_name("int4", QType::kBF16).ok());
}

}  // namespace
}  // namespace octet
