// What is said where a model does not fit: how much is missing, and what would fit.
#include <gtest/gtest.h>

#include "backend/reference/reference_ops.h"
#include "formats/test_util.h"
#include "model/model_sizes.h"

namespace octet {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

MemoryPlan plan_of(int64_t weights, int64_t kv_cache) {
  MemoryPlan plan;
  plan.weights = weights;
  plan.activations = 100 * kMiB;
  plan.scratch = 20 * kMiB;
  plan.kv_cache = kv_cache;
  plan.page_size = 16;
  plan.kv_bytes_per_token = kMiB / 8;
  plan.max_context = 2048;
  return plan;
}

TEST(ModelSizes, AStepIsAsLongAsTheBackendLikesWithinWhatIsAsked) {
  const auto checkpoint = testing::random_checkpoint(testing::small_llama_config(1, 256));
  const auto ops = make_reference_ops();
  const auto tokens = [&](const ModelOptions& options) {
    const auto sizes = model_sizes(*checkpoint, *ops, options);
    return sizes.ok() ? sizes->activations.tokens : -1;
  };
  const int32_t liked = ops->info().step_tokens;
  EXPECT_EQ(tokens({}), liked);
  EXPECT_EQ(tokens({.longest_default_step = 2 * liked}), liked);
  EXPECT_EQ(tokens({.longest_default_step = liked / 2}), liked / 2);
  EXPECT_EQ(tokens({.max_batch = liked, .longest_default_step = liked / 2}), liked);
  EXPECT_EQ(tokens({.max_step_tokens = 2 * liked, .longest_default_step = liked / 2}), 2 * liked);
}

TEST(CheckMemory, FitsOrIsUnknown) {
  EXPECT_TRUE(check_memory(plan_of(1000 * kMiB, 500 * kMiB), 1620 * kMiB).ok());
  EXPECT_TRUE(check_memory(plan_of(1000 * kMiB, 500 * kMiB), 0).ok());
}

TEST(CheckMemory, SaysWhatCacheFits) {
  const Status status = check_memory(plan_of(1000 * kMiB, 2000 * kMiB), 1720 * kMiB);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  for (const char* part : {"needs 3120.0 MiB but 1720.0 MiB are free, 1400.0 MiB are missing",
                           "4800 tokens (2 sequences of 2048)", "--kv-memory 600MiB"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << part << " in " << status.message();
  }
}

TEST(CheckMemory, SaysWhichContextFits) {
  const Status status = check_memory(plan_of(1000 * kMiB, 2000 * kMiB), 1220 * kMiB);
  EXPECT_NE(status.message().find("800 tokens (one sequence of --max-context 800)"), std::string::npos)
      << status.message();
}

TEST(CheckMemory, SaysThatTheModelAloneIsTooLarge) {
  const Status status = check_memory(plan_of(1000 * kMiB, 0), 1100 * kMiB);
  EXPECT_NE(
      status.message().find("needs 1120.0 MiB before its KV cache but 1100.0 MiB are free, 20.0 MiB are"),
      std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace octet
