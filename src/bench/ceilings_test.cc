#include "bench/ceilings.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_ops.h"

namespace octet {
namespace {

TEST(Ceilings, AreMeasuredWhereNoneIsDocumented) {
  const auto ops = std::move(make_cpu_ops({.n_threads = 1})).value();
  const auto ceilings = measure_ceilings(*ops);
  ASSERT_TRUE(ceilings.ok()) << ceilings.status().message();
  EXPECT_FALSE(ceilings->documented);
  const DeviceRates& rates = ceilings->rates;
  EXPECT_EQ(rates.memory_bytes_s, std::max(ceilings->copy_bytes_s, ceilings->read_bytes_s));
  for (const double rate : {ceilings->copy_bytes_s, ceilings->read_bytes_s, rates.half_flop_s,
                            rates.int8_flop_s, rates.fp8_flop_s})
    EXPECT_GT(rate, 1e7);
  EXPECT_EQ(to_json(*ceilings)["products"], "measured");
}

TEST(Ceilings, ProductsHaveTheRateOfTheirInputs) {
  const DeviceRates rates{.half_flop_s = 1, .int8_flop_s = 2, .fp8_flop_s = 3};
  EXPECT_EQ(product_rate(rates, QType::kBF16), 1);
  EXPECT_EQ(product_rate(rates, QType::kInt8), 2);
  EXPECT_EQ(product_rate(rates, QType::kFp8), 3);
}

}  // namespace
}  // namespace octet
