#include "backend/tracing_ops.h"

#include <gtest/gtest.h>

#include "backend/cpu/cpu_ops.h"
#include "backend/ops_test_util.h"

namespace octet {
namespace {

ForwardBatch batch_of(std::vector<int32_t> queries, std::vector<int32_t> contexts) {
  ForwardBatch batch;
  batch.query_start = {0};
  for (const int32_t q : queries) batch.query_start.push_back(batch.query_start.back() + q);
  batch.context_lens = std::move(contexts);
  return batch;
}

// What attention_work says in closed form, counted one by one.
AttentionWork counted(const ForwardBatch& batch, int32_t window) {
  AttentionWork work;
  for (size_t s = 0; s < batch.context_lens.size(); ++s) {
    const int32_t context = batch.context_lens[s];
    std::vector<bool> seen(static_cast<size_t>(context));
    for (int32_t i = context - (batch.query_start[s + 1] - batch.query_start[s]); i < context; ++i) {
      for (int32_t key = window > 0 ? std::max(0, i + 1 - window) : 0; key <= i; ++key) {
        seen[static_cast<size_t>(key)] = true;
        ++work.pairs;
      }
    }
    work.keys += static_cast<double>(std::count(seen.begin(), seen.end(), true));
  }
  return work;
}

TEST(OpCost, AttentionCoversWhatItsQueriesSee) {
  for (const int32_t window : {0, 1, 5, 16, 100}) {
    for (const auto& batch : {batch_of({1}, {1}), batch_of({1, 1, 1}, {7, 16, 90}), batch_of({24}, {24}),
                              batch_of({8, 1, 5}, {40, 3, 5}), batch_of({0, 4}, {9, 9})}) {
      AttentionWork expected = counted(batch, window);
      EXPECT_EQ(attention_work(batch, window), expected) << "window " << window;
    }
  }
}

TEST(OpCost, EveryOpMovesItsOperandsOnce) {
  const View x{nullptr, DType::kBF16, 3, 64, 64};
  const QView plain{nullptr, {QType::kBF16}, 3, 64, 64};
  const QView codes{nullptr, {QType::kInt8, QScale::kToken, true}, 3, 64, 64};
  const View table{nullptr, DType::kF32, 1000, 64, 64};
  EXPECT_EQ(view_bytes(x), 3 * 64 * 2);
  EXPECT_EQ(view_bytes(codes), 3 * (64 + 4));
  EXPECT_EQ(embed_cost(table, x), (OpCost{3 * 64 * (4 + 2), 0}));
  EXPECT_EQ(convert_cost(x, plain), (OpCost{3 * 64 * (2 + 2), 0}));
  EXPECT_EQ(convert_cost(View{nullptr, DType::kBF16, 3, 128, 128}, codes), (OpCost{3 * (256 + 68), 0}));
  EXPECT_EQ(gather_cost(x), (OpCost{2 * 3 * 64 * 2, 0}));
  EXPECT_EQ(sample_cost(View{nullptr, DType::kF32, 2, 1000, 1000}), (OpCost{8000, 0}));

  PackedLinear w;
  w.n = 10;
  w.k = 64;
  w.bytes = 10 * 64 + 10 * 4;
  const View d{nullptr, DType::kBF16, 3, 10, 10};
  EXPECT_EQ(linear_cost(codes, w, view_bytes(d)), (OpCost{680 + 3 * 68 + 3 * 10 * 2, 2.0 * 3 * 10 * 64}));

  const AttentionSpec spec{.n_heads = 4, .n_kv_heads = 2, .head_dim = 16};
  EXPECT_EQ(rope_write_kv_cost(View{nullptr, DType::kBF16, 3, 128, 128}, x, 100),
            (OpCost{3 * (256 + 128 + 100), 0}));
  EXPECT_EQ(attention_cost(x, plain, spec, {.keys = 50, .pairs = 90}, 100),
            (OpCost{2 * 3 * 128 + 5000, 4.0 * 90 * 4 * 16}));
}

struct SmallStep {
  SmallStep() : ops(std::move(make_cpu_ops({.n_threads = 1})).value()) {
    EXPECT_TRUE(ops.reserve({.max_tokens = 4,
                             .max_seqs = 4,
                             .max_context = 16,
                             .max_logits = 4,
                             .vocab_size = 8,
                             .max_cols = 8,
                             .attention = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 8}})
                    .ok());
  }
  void run() {
    const DeviceMatrix x(ops, 2, 8, random_values(16, 1)), y(ops, 2, 8);
    ForwardBatch host = batch_of({1, 1}, {1, 1});
    host.token_ids = {1, 2};
    const BatchView view = ops.stage(host);
    ops.run(view, [&](const BatchView&) {
      ++n_steps;
      ops.quantize(x.view(), y.as_f32());
      ops.quantize(y.view(), x.as_f32());
    });
  }
  TracingOps ops;
  int n_steps = 0;
};

TEST(TracingOps, RecordsOpsInOrder) {
  SmallStep step;
  ASSERT_TRUE(step.ops.prepare(8).ok());
  EXPECT_GE(step.ops.mark_seconds(), 0);
  step.run();  // not traced
  for (int repeat = 0; repeat < 2; ++repeat) {
    step.ops.start();
    step.run();
    const auto records = step.ops.stop();
    ASSERT_TRUE(records.ok());
    ASSERT_EQ(records->size(), 3u);
    const OpKind kinds[] = {OpKind::kStage, OpKind::kQuantize, OpKind::kQuantize};
    double last = 0;
    for (size_t i = 0; i < 3; ++i) {
      const OpRecord& r = (*records)[i];
      EXPECT_EQ(r.kind, kinds[i]);
      EXPECT_EQ(r.rows, 2);
      EXPECT_GE(r.start, last) << "ops of a host do not overlap";
      EXPECT_GE(r.end, r.start);
      EXPECT_LE(r.host_start, r.host_end);
      EXPECT_GT(r.cost.bytes, 0);
      last = r.end;
    }
    EXPECT_EQ((*records)[0].start, 0);
  }
}

TEST(TracingOps, AHeadStartRunsTheStepUntracedBefore) {
  SmallStep step;
  ASSERT_TRUE(step.ops.prepare(8).ok());
  step.ops.set_head_start(3);
  step.run();
  EXPECT_EQ(step.n_steps, 1) << "only traced steps have one";
  step.ops.start();
  step.run();
  const auto records = step.ops.stop();
  ASSERT_TRUE(records.ok());
  EXPECT_EQ(step.n_steps, 5);
  ASSERT_EQ(records->size(), 4u);
  EXPECT_EQ((*records)[1].kind, OpKind::kHeadStart);
}

TEST(TracingOps, MoreOpsThanThereIsRoomForIsAnError) {
  SmallStep step;
  ASSERT_TRUE(step.ops.prepare(2).ok());
  step.ops.start();
  step.run();
  EXPECT_EQ(step.ops.stop().status().code(), StatusCode::kResourceExhausted);
  step.ops.start();
  EXPECT_TRUE(step.ops.stop().ok());
}

}  // namespace
}  // namespace octet
