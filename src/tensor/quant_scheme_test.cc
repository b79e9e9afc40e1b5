#include "tensor/quant_scheme.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

TEST(QuantScheme, NamesRoundTrip) {
  for (const auto& name : scheme_names()) {
    const auto scheme = scheme_by_name(name);
    ASSERT_TRUE(scheme.ok());
    EXPECT_EQ(scheme_name(*scheme), name);
  }
  EXPECT_EQ(to_string(*scheme_by_name("int8-minmax")), "w:int8/channel a:int8/token/dynamic");
}

TEST(QuantScheme, CalibratedAndUnknownNamesAreToldApart) {
  EXPECT_EQ(scheme_by_name("fp8-static").status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(scheme_by_name("int7").status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(scheme_by_name("int7").status().message().find("int8-minmax"), std::string::npos);
}

TEST(KvQuant, AutoFollowsTheModel) {
  EXPECT_EQ(kv_quant_by_name("auto", QType::kF16)->type, QType::kF16);
  EXPECT_EQ(kv_quant_by_name("auto", QType::kBF16)->type, QType::kBF16);
  EXPECT_EQ(kv_quant_by_name("fp8", QType::kBF16)->type, QType::kFp8);
  EXPECT_FALSE(kv_quant_by_name("int4", QType::kBF16).ok());
}

}  // namespace
}  // namespace octet
