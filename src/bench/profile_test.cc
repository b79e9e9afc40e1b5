#include "bench/profile.h"

#include <algorithm>
#include <map>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "backend/cpu/cpu_ops.h"
#include "bench/fixed_batch.h"
#include "formats/test_util.h"

namespace octet {
namespace {

std::shared_ptr<Checkpoint> random_checkpoint() {
  return testing::random_checkpoint(testing::small_llama_config(3, 128));
}

Result<std::unique_ptr<Ops>> one_thread() {
  return make_cpu_ops({.n_threads = 1});
}

ProfileOptions small() {
  return {.batches = {1, 3}, .contexts = {20, 60}, .prompts = {24}, .seconds = 1e-4, .repeats = 3};
}

// Ceilings that are given, so that tests need not wait for the measured ones.
ProfileReport begun() {
  ProfileReport report{.model = "m", .backend = "cpu", .device = "d"};
  report.ceilings.rates = {
      .memory_bytes_s = 1e10, .half_flop_s = 1e11, .int8_flop_s = 1e12, .fp8_flop_s = 1e11};
  return report;
}

const ProfilePart& part(const StepProfile& step, const std::string& name) {
  const auto found = std::ranges::find_if(step.parts, [&](const auto& p) { return p.name == name; });
  if (found == step.parts.end()) throw std::out_of_range(name);
  return *found;
}

class ProfiledModel : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    report = new ProfileReport(begun());
    ModelOptions model;
    model.scheme = "int8-minmax";
    auto variant = profile_variant(random_checkpoint(), one_thread, model, small(), *report);
    ASSERT_TRUE(variant.ok()) << variant.status().message();
    report->variants.push_back(std::move(variant).value());
  }
  static void TearDownTestSuite() { delete report; }
  static const std::vector<StepProfile>& steps() { return report->variants[0].steps; }
  inline static ProfileReport* report = nullptr;
};

TEST_F(ProfiledModel, MeasuresEveryStepThatWasAskedFor) {
  ASSERT_EQ(steps().size(), 5u);
  EXPECT_EQ(report->variants[0].runs_as, "int8-minmax");
  std::set<std::pair<int, int>> decodes;
  for (const StepProfile& s : steps())
    if (s.phase == "decode") decodes.insert({s.batch, s.context});
  EXPECT_EQ(decodes, (std::set<std::pair<int, int>>{{1, 20}, {1, 60}, {3, 20}, {3, 60}}));
  EXPECT_EQ(steps().back().phase, "prefill");
  EXPECT_EQ(steps().back().tokens, 24);
}

TEST_F(ProfiledModel, PartsAddUpToTheStep) {
  for (const StepProfile& s : steps()) {
    double us = 0, share = 0;
    for (const ProfilePart& p : s.parts) {
      EXPECT_GE(p.us, 0) << p.name;
      us += p.us;
      share += p.share;
    }
    EXPECT_NEAR(us, s.ops_us + s.rest_us, 1e-6 * us);
    EXPECT_NEAR(share, 1, 1e-9);
    EXPECT_EQ(s.overlap_us, 0) << "ops of a host do not overlap";
    EXPECT_GT(s.step_us, 0);
    EXPECT_EQ(s.parts.back().name, "host");
    double spans = 0;  // of the last repeat: ops of a host follow each other within the traced step
    for (const NamedRecord& r : s.records) spans += r.op.seconds();
    EXPECT_LE(spans, (s.records.back().op.end - s.records.front().op.start) * (1 + 1e-9));
  }
}

TEST_F(ProfiledModel, EveryOpIsCountedWithItsCost) {
  for (const StepProfile& s : steps()) {
    for (const char* name : {"linear qkv", "linear o", "linear gate_up", "linear down", "attention",
                             "rope, KV write", "activation"})
      EXPECT_EQ(part(s, name).calls, 3) << name;
    EXPECT_EQ(part(s, "norm").calls, 7);  // two a layer, and the last
    EXPECT_EQ(part(s, "linear head").calls, 1);
    EXPECT_EQ(part(s, "sampling").calls, 1);
    const double tokens = s.tokens;
    EXPECT_EQ(part(s, "linear qkv").flop, 3 * 2 * tokens * 64 * 128);
    // The last layer's MLP sees one row a sequence.
    EXPECT_EQ(part(s, "linear down").flop, 2 * (2 * tokens + s.batch) * 64 * 128);
    EXPECT_EQ(part(s, "linear head").flop, 2.0 * s.batch * 211 * 64);
    const double pairs = s.phase == "decode" ? s.batch * s.context : 24 * 25 / 2;
    EXPECT_EQ(part(s, "attention").flop, 3 * 4 * pairs * 64);
    EXPECT_GE(part(s, "attention").bytes, 3.0 * s.batch * s.context * 2 * 32 * 2);
    EXPECT_GT(part(s, "linear qkv").ceiling_share, 0);
  }
}

TEST_F(ProfiledModel, TheTraceIsWhatViewersTake) {
  const auto trace = nlohmann::json::parse(to_trace_events(*report).dump());
  ASSERT_TRUE(trace.at("traceEvents").is_array());
  std::map<std::pair<int, int>, double> ends;  // by process and track
  std::map<std::pair<int, int>, std::string> tracks;
  EXPECT_TRUE(trace.at("displayTimeUnit") == "ns" || trace["displayTimeUnit"] == "ms");
  std::set<int> processes;  // that have a name
  size_t spans = 0;
  for (const auto& e : trace["traceEvents"]) {
    ASSERT_TRUE(e.at("name").is_string() && e.at("pid").is_number() && e.at("tid").is_number());
    const std::pair<int, int> track{e["pid"], e["tid"]};
    if (e.at("ph") == "M") {
      ASSERT_TRUE(e.at("args").at("name").is_string());
      if (e["name"] == "process_name") processes.insert(track.first);
      if (e["name"] == "thread_name") tracks[track] = e.at("args").at("name");
      continue;
    }
    ASSERT_EQ(e["ph"], "X");
    ++spans;
    EXPECT_TRUE(tracks.contains(track)) << "a track without a name";
    EXPECT_TRUE(processes.contains(track.first)) << "a process without a name";
    EXPECT_GE(e.at("dur").get<double>(), 0);
    EXPECT_GE(e.at("ts").get<double>(), ends[track] - 1e-3) << "spans of a track overlap";
    ends[track] = e["ts"].get<double>() + e["dur"].get<double>();
  }
  EXPECT_EQ(tracks.size(), 10u);  // two for each of five steps
  size_t records = 0;
  for (const StepProfile& s : steps()) records += s.records.size();
  EXPECT_EQ(spans, 2 * records);
}

TEST_F(ProfiledModel, TablesAndJsonSayTheSame) {
  const auto json = to_json(*report);
  ASSERT_EQ(json["steps"].size(), 5u);
  EXPECT_EQ(json["steps"][0]["scheme"], "int8-minmax");
  EXPECT_EQ(json["steps"][0]["parts"][0]["part"], "linear qkv");
  const std::string table = profile_table(*report);
  for (const char* text : {"decode, 3 sequences of 60 tokens", "prefill of 24 tokens", "linear gate_up",
                           "host", "sum of ops", "share of a decode step", "3 x 60"})
    EXPECT_NE(table.find(text), std::string::npos) << text << " in\n" << table;
}

// What is observed is what would be without the observer, bit by bit.
TEST(Profile, TracingLeavesLogitsAlone) {
  const auto logits = [](bool traced) {
    auto owned = std::make_unique<TracingOps>(std::move(one_thread()).value());
    TracingOps& ops = *owned;
    ModelOptions options;
    options.scheme = "int8-minmax";
    options.kv_dtype = "int8";
    options.max_batch = 3;
    options.max_context = 128;
    auto model = Model::load(random_checkpoint(), std::move(owned), options);
    EXPECT_TRUE(model.ok()) << model.status().message();
    EXPECT_TRUE(ops.prepare(256).ok());
    std::vector<float> all;
    for (const int32_t queries : {20, 1}) {
      const FixedBatch sizes{.sequences = 3,
                             .queries = queries,
                             .context = queries == 1 ? 21 : 20,
                             .page_size = (*model)->cache().page_size,
                             .n_pages = (*model)->cache().n_pages,
                             .vocab_size = 211};
      if (traced) ops.start();
      const View view = (*model)->forward(fixed_batch(sizes));
      if (traced) {
        const auto records = ops.stop();
        EXPECT_TRUE(records.ok());
        EXPECT_GT(records->size(), 20u);
      }
      for (int64_t r = 0; r < view.rows; ++r)
        all.insert(all.end(), view.row<float>(r), view.row<float>(r) + view.cols);
    }
    return all;
  };
  const auto plain = logits(false);
  EXPECT_EQ(plain.size(), 2u * 3 * 211);
  EXPECT_EQ(logits(true), plain);
}

// Says of itself what it is told to.
class ToldOps : public TracingOps {
 public:
  ToldOps(std::unique_ptr<Ops> inner, const std::function<void(BackendInfo&)>& change)
      : TracingOps(std::move(inner)), info_(TracingOps::info()) {
    change(info_);
  }
  const BackendInfo& info() const override { return info_; }

 private:
  BackendInfo info_;
};

OpsFactory told(const std::function<void(BackendInfo&)>& change) {
  return [change]() -> Result<std::unique_ptr<Ops>> {
    return std::unique_ptr<Ops>(std::make_unique<ToldOps>(std::move(one_thread()).value(), change));
  };
}

TEST(Profile, OfADeviceThatRunsAheadEachOpBeginsWhereTheLastOneEnded) {
  const OpsFactory ahead = told([](BackendInfo& info) { info.runs_ahead = true; });
  ProfileReport report = begun();
  report.runs_ahead = true;
  const auto variant = profile_variant(random_checkpoint(), ahead, {}, small(), report);
  ASSERT_TRUE(variant.ok()) << variant.status().message();
  for (const StepProfile& s : variant->steps) {
    EXPECT_EQ(s.parts.back().name, "idle");
    EXPECT_NEAR(s.step_us, s.ops_us + s.rest_us - s.overlap_us, 1e-6 * s.step_us);
    EXPECT_TRUE(s.rest_us == 0 || s.overlap_us == 0);
    EXPECT_GT(s.host_us, 0);
    EXPECT_EQ(s.records[0].op.kind, OpKind::kStage);
    EXPECT_EQ(s.records[1].op.kind, OpKind::kHeadStart);
    for (size_t i = 1; i < s.records.size(); ++i)
      EXPECT_EQ(s.records[i].op.start, s.records[i - 1].op.end) << i;
    double parts = 0;
    for (const ProfilePart& p : s.parts) parts += p.share;
    EXPECT_NEAR(parts, 1, 1e-9);
  }
}

TEST(Profile, ProductsAreNamedByWhatSurroundsThem) {
  using enum OpKind;
  std::vector<OpRecord> ops;
  for (const OpKind kind : {kStage,       kEmbed,     kNorm,   kQuantize,   kLinear, kQuantize, kLinear,
                            kRopeWriteKv, kAttention, kLinear, kGatherRows, kNorm,   kLinear,   kLinear,
                            kSiluMul,     kQuantize,  kLinear, kNorm,       kLinear, kSample})
    ops.push_back({.kind = kind});
  ops.insert(ops.end() - 1, {{.kind = kLinearSiluMul}, {.kind = kLinear}});  // of a layer that fuses
  const std::vector<std::string> expected = {
      "batch",          "embed, gather",  "norm",        "quantize", "linear qkv",    "quantize",
      "linear qkv",     "rope, KV write", "attention",   "linear o", "embed, gather", "norm",
      "linear gate_up", "linear gate_up", "activation",  "quantize", "linear down",   "norm",
      "linear head",    "linear gate_up", "linear down", "sampling"};
  EXPECT_EQ(part_names(ops), expected);
}

TEST(Profile, RepeatsGiveMediansAndHeadStartsCountForNothing) {
  using enum OpKind;
  std::vector<std::vector<OpRecord>> repeats;
  for (const double s : {3e-6, 1e-6, 8e-6}) {
    repeats.push_back({{.kind = kStage, .start = 0, .end = 1e-6},
                       {.kind = kHeadStart, .start = 1e-6, .end = 1.0},
                       {.kind = kLinear,
                        .input = QType::kInt8,
                        .cost = {.bytes = 100, .flop = 2e3},
                        .start = 1.0,
                        .end = 1.0 + s},
                       {.kind = kSample, .start = 1.0 + s, .end = 1.0 + 2e-6 + s}});
  }
  StepProfile step;
  step.step_us = 5;
  const DeviceRates ceilings{.memory_bytes_s = 1e9, .int8_flop_s = 1e9};
  take_apart(repeats, ceilings, true, step);
  EXPECT_NEAR(part(step, "linear head").traced_us, 3, 1e-6);
  EXPECT_NEAR(step.ops_us, 1 + 3 + 2, 1e-6);
  EXPECT_NEAR(step.traced_us, 6, 1e-6);
  EXPECT_NEAR(step.overlap_us, 1, 1e-6);
  EXPECT_NEAR(step.added_us, 1.0 / 3, 1e-6);
  EXPECT_NEAR(part(step, "linear head").us, 3 - 1.0 / 3, 1e-6);
  EXPECT_NEAR(part(step, "linear head").share, (3 - 1.0 / 3) / 5, 1e-6);  // the parts add up to the step
  EXPECT_NEAR(part(step, "linear head").ceiling_share, 0.75, 1e-6);       // 2 us of products, 0.1 of memory
  EXPECT_EQ(step.rest_us, 0);
  EXPECT_EQ(part(step, "idle").us, 0);

  StepProfile slow;
  slow.step_us = 10;
  take_apart(repeats, ceilings, true, slow);
  EXPECT_NEAR(part(slow, "idle").us, 4, 1e-6);
  EXPECT_EQ(slow.overlap_us, 0);
}

TEST(Profile, RefusesSizesThatAreNone) {
  const ModelConfig config = random_checkpoint()->config;
  const auto refused = [&](const ProfileOptions& options, const char* named) {
    const Status status = check_profile(options, config);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
  };
  EXPECT_TRUE(check_profile(small(), config).ok());
  ProfileOptions options = small();
  options.batches = {1, 0};
  refused(options, "--batches");
  options = small();
  options.contexts = {129};
  refused(options, "--contexts 129");
  options = small();
  options.prompts = {500};
  refused(options, "--prefill 500");
  options = small();
  options.seconds = 0;
  refused(options, "--seconds");
}

// With room for three short sequences, or a long one: by the size that is given, or by what is free of a
// device's memory.
class LimitedMemory : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto ops = std::move(one_thread()).value();
    const auto plan = Model::plan(
        *checkpoint, *ops, {.max_batch = 3, .max_step_tokens = 24, .max_context = 60, .kv_bytes = 1 << 30});
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const auto pages = [&](int32_t tokens) { return (tokens + plan->page_size - 1) / plan->page_size; };
    const int64_t page_bytes = plan->page_size * plan->kv_bytes_per_token;
    room = std::max(3 * pages(20), pages(60)) * page_bytes;
    ASSERT_LT(room + page_bytes, 3 * pages(60) * page_bytes);
    smallest = pages(20) * page_bytes;
    fixed = plan->total() - plan->kv_cache;
  }
  // A device with so much memory for the cache.
  OpsFactory device(int64_t cache) const {
    return told([=, this](BackendInfo& info) {
      info.memory_available = fixed + static_cast<int64_t>(static_cast<double>(cache) / 0.96) + 64;
      info.own_memory = true;
    });
  }
  Result<ProfileVariant> profile(const OpsFactory& ops, int64_t kv_bytes, const ProfileOptions& options) {
    return profile_variant(checkpoint, ops, {.kv_bytes = kv_bytes}, options, report);
  }

  std::shared_ptr<Checkpoint> checkpoint = random_checkpoint();
  ProfileReport report = begun();
  int64_t room = 0, smallest = 0, fixed = 0;
};

TEST_F(LimitedMemory, WhatDoesNotFitIsLeftOutAndNamed) {
  for (const auto& [ops, kv_bytes] : {std::pair<OpsFactory, int64_t>{one_thread, room}, {device(room), 0}}) {
    const auto some = profile(ops, kv_bytes, small());
    ASSERT_TRUE(some.ok()) << some.status().message();
    EXPECT_EQ(some->steps.size(), 3u + 1);
    ASSERT_EQ(some->left_out.size(), 1u);
    EXPECT_EQ(some->left_out[0].find("3 sequences of 60 tokens"), 0u) << some->left_out[0];
    report.variants = {*some};
    EXPECT_NE(profile_table(report).find("left out: 3 sequences of 60"), std::string::npos);
    EXPECT_EQ(to_json(report)["left_out"].size(), 1u);
  }
}

// Neither a context nor a prompt that fits alone is lost with a longer one.
TEST_F(LimitedMemory, OnlyTheSmallestStepFits) {
  ProfileOptions options = small();
  options.prompts = {24, 100};
  const auto one = profile(told([&](BackendInfo& info) {
                             info.memory_available = int64_t{1} << 40;
                             info.own_memory = true;
                           }),
                           smallest, options);
  ASSERT_TRUE(one.ok()) << one.status().message();
  EXPECT_EQ(one->steps.front().context, 20);
  EXPECT_EQ(one->left_out.back().find("prefill of 100 tokens"), 0u) << one->left_out.back();
}

TEST_F(LimitedMemory, WhereNothingFitsItIsOneError) {
  for (const auto& [ops, kv_bytes] :
       {std::pair<OpsFactory, int64_t>{one_thread, smallest - 1}, {device(smallest / 2), 0}}) {
    ProfileOptions options = small();
    std::ranges::reverse(options.contexts);
    const auto none = profile(ops, kv_bytes, options);
    EXPECT_EQ(none.status().code(), StatusCode::kResourceExhausted);
    for (const char* part : {"1 sequence of 20 tokens", "--kv-memory", "--contexts"})
      EXPECT_NE(none.status().message().find(part), std::string::npos) << none.status().message();
  }
  const auto no_model =
      profile(told([&](BackendInfo& info) { info.memory_available = fixed / 2; }), 0, small());
  EXPECT_NE(no_model.status().message().find("before its KV cache"), std::string::npos)
      << no_model.status().message();
}

}  // namespace
}  // namespace octet
