#include "report/results.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "report/results_for_test.h"

namespace octet {
namespace {

std::string error_of(const std::string& file, const std::string& text) {
  Results results;
  return read_result(file, text, results).message();
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Results, VersionsAndCommandsAreKeptOnceAFile) {
  Results results;
  nlohmann::json row = speed_json("fp8", "bf16", 128, 128, 1, 0, 7);
  row.update({{"version", "0.1.0"}, {"command", "octet bench sweep M"}});
  ASSERT_TRUE(read_result("a.jsonl", row.dump() + "\n" + row.dump() + "\n", results).ok());
  ASSERT_TRUE(read_result("old.json", speed_json("fp8", "bf16", 128, 128, 1, 0, 7).dump(2), results).ok());
  ASSERT_EQ(results.origins.size(), 2u);
  EXPECT_EQ(results.origins[0], (Origin{"a.jsonl", "0.1.0", "octet bench sweep M"}));
  EXPECT_EQ(results.origins[1], (Origin{"old.json", "", ""}));
}

TEST(Results, EachKindIsToldByWhatIsInIt) {
  Results results;
  ASSERT_TRUE(read_result("sweep.jsonl", sweep_text(), results).ok());
  EXPECT_EQ(results.speeds.size(), 14u);
  EXPECT_EQ(results.speeds[1].scheme, "fp8");
  EXPECT_EQ(results.speeds[1].ttft_p99, 120.0);
  ASSERT_TRUE(
      read_result("any", speed_json("fp8", "fp8", 1, 2, 3, 4, 5).dump(2), results).ok());  // bench throughput
  EXPECT_EQ(results.speeds.back().rate, 4);
  nlohmann::json recorded = speed_json("fp8", "fp8", 1, 2, 3, 4.48, 5);
  recorded["arrivals"] = "times.txt";
  ASSERT_TRUE(read_result("any", recorded.dump(), results).ok());
  EXPECT_EQ(results.speeds.back().rate, 4);
  const std::string array = "[" + speed_json("fp8", "fp8", 1, 2, 3, 0, 7).dump() + "]";  // bench sweep --json
  ASSERT_TRUE(read_result("any", array, results).ok());
  EXPECT_EQ(results.speeds.back().output_tok_s, 7);
  ASSERT_TRUE(read_result("any", profile_text(), results).ok());
  EXPECT_EQ(results.steps.size(), 8u);
  EXPECT_EQ(results.rates.at("a small device").int8_flop_s, 2e14);
  ASSERT_TRUE(read_result("any", quality_text(), results).ok());
  ASSERT_EQ(results.qualities.size(), 3u);
  EXPECT_NEAR(results.qualities[1].over_baseline->value, 0.02, 1e-12);
  EXPECT_EQ(results.qualities[1].accuracy.at("mmlu").error, 0.01);
  EXPECT_EQ(results.qualities[2].over_baseline->value, 0.015);
  const char* variant =
      R"({"model": "m", "rows": [{"variant": "planted", "scheme": "fp8-gptq", "options": "fp8 --weights gptq", "kl": 1},
                           {"scheme": "kv-fp8", "options": "bf16 --kv-dtype fp8", "kl": 1}]})";
  ASSERT_TRUE(read_result("any", variant, results).ok());
  EXPECT_EQ(results.qualities[3].model, "m, planted");
  EXPECT_EQ(results.qualities[3].runs_as, "fp8");
  EXPECT_EQ(results.qualities[4].runs_as, "");  // no speed of a scheme is that of another cache
}

TEST(Results, AccuraciesThatStandApartBelongToTheFirstModel) {
  Results results;
  ASSERT_TRUE(read_result("q.json", quality_text(), results).ok());
  const char* text =
      R"({"model": "m", "rows": [{"scheme": "fp8", "kl": 1}, {"variant": "planted", "scheme": "fp8", "kl": 2}],
                         "mmlu": {"rows": [{"scheme": "fp8", "acc": 0.25, "acc_error": 0.01}, {"scheme": "w8a16", "acc": 0.3}]}})";
  ASSERT_TRUE(read_result("q.json", text, results).ok());
  ASSERT_EQ(results.qualities.size(), 6u);
  EXPECT_EQ(results.qualities[3].accuracy.at("mmlu").value, 0.25);
  EXPECT_TRUE(results.qualities[4].accuracy.empty());
  EXPECT_EQ(results.qualities[5].scheme, "w8a16");  // measured by this alone
  const char* broken =
      R"({"model": "m", "rows": [{"scheme": "fp8", "kl": 1}], "mmlu": {"rows": [{"scheme": "fp8"}]}})";
  EXPECT_TRUE(holds(error_of("q.json", broken), "q.json: mmlu: rows[0]: acc is missing"));
  EXPECT_TRUE(
      holds(error_of("q.json", R"({"model":"m","rows":[{"scheme":"fp8","kl":1,"mmlu":{"acc":null}}]})"),
            "acc is missing"));
}

TEST(Results, AnotherEnginesFigures) {
  Results results;
  ASSERT_TRUE(read_result("rival.json", rival_text(), results).ok());
  ASSERT_EQ(results.speeds.size(), 4u);
  const SpeedRow& cached = results.speeds[2];
  EXPECT_EQ(cached.engine, "vLLM 0.26.0");
  EXPECT_EQ(cached.scheme, "fp8-static");
  EXPECT_EQ(cached.kv_dtype, "fp8");
  EXPECT_EQ(cached.max_batch, 64);
  EXPECT_EQ(results.speeds[3].rate, 4);
  EXPECT_FALSE(results.speeds[3].output_tok_s.has_value());
  EXPECT_EQ(results.speeds[3].ttft_p50, 63);
}

TEST(Results, TheTableOfAnH100Run) {
  Results results;
  const char* text = R"json({"device": "d", "model": "llama-3.1-8b (random weights)", "rows": [
    {"workload": "2048/128", "max_batch": 64, "scheme": "fp8", "kv_dtype": "bf16", "output_tok_s": 2500.5,
     "ratio": null, "ttft_ms_p50": 9, "tpot_ms_p50": 3}]})json";
  ASSERT_TRUE(read_result("t.json", text, results).ok());
  EXPECT_EQ(results.speeds.at(0).model, "llama-3.1-8b");
  EXPECT_TRUE(results.speeds[0].summary);
  EXPECT_EQ(results.speeds[0].input_len, 2048);
}

TEST(Results, ABrokenLineIsNamed) {
  const std::string error = error_of("sweep.jsonl", sweep_text() + "{\"cell\": \"cut sh");
  EXPECT_TRUE(holds(error, "sweep.jsonl:15: broken line")) << error;
  EXPECT_TRUE(holds(error_of("q.json", "{\n\"model\": \"x\",\n\"rows\": [\n"), "q.json:4: "));
  EXPECT_TRUE(holds(error_of("x.json", " \n"), "x.json: the file is empty"));
  EXPECT_TRUE(holds(error_of("x.json", "{\"a\":\n 1e999}"), "x.json: a number in it is too large"));
}

TEST(Results, AFieldOfAnotherVersionIsNamed) {
  auto row = speed_json("fp8", "bf16", 1, 2, 3, 0, 5);
  row["max_batch"] = "many";
  std::string error = error_of("s.jsonl", "\n" + row.dump() + "\n");
  EXPECT_TRUE(holds(error, "s.jsonl:2: max_batch: expected a number, found string")) << error;
  EXPECT_TRUE(holds(error, "another version"));
  row = speed_json("fp8", "bf16", 1, 2, 3, 0, 5);
  row["ttft_ms"].erase("p50");
  EXPECT_TRUE(holds(error_of("s.jsonl", row.dump()), "s.jsonl:1: ttft_ms: p50 is missing"));
  auto profile = nlohmann::json::parse(profile_text());
  profile["steps"][3].erase("step_us");
  EXPECT_TRUE(holds(error_of("p.json", profile.dump()), "p.json: steps[3]: step_us is missing"));
}

TEST(Results, OfAnUnknownKindIsAnError) {
  Results results;
  const Status status = read_result("calibration.json", "{\"layers\": []}", results);
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_TRUE(holds(status.message(), "calibration.json is no result"));
  EXPECT_FALSE(read_result("x.json", "[1, 2]", results).ok());
  EXPECT_FALSE(read_result("x.json", "3", results).ok());
  ASSERT_TRUE(read_result("latency.json", "{\"prefill_tok_s\": 3}", results).ok());  // known, not shown
  EXPECT_EQ(results.skipped, std::vector<std::string>{"latency.json (octet bench latency)"});
}

TEST(Results, FoldersAreLookedInto) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "octet_results_test";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder / "deeper.json");
  auto results = read_results({folder.string()});
  EXPECT_TRUE(holds(results.status().message(), "deeper.json")) << results.status().message();
  std::filesystem::remove(folder / "deeper.json");
  results = read_results({folder.string()});
  EXPECT_TRUE(holds(results.status().message(), "no file that ends in .json"));
  std::ofstream(folder / "a.jsonl") << sweep_text();
  std::ofstream(folder / "b.json") << quality_text();
  std::ofstream(folder / "notes.txt") << "nothing";
  results = read_results({folder.string()});
  ASSERT_TRUE(results.ok()) << results.status().message();
  EXPECT_EQ(results->files.size(), 2u);
  EXPECT_TRUE(holds(read_results({(folder / "c.json").string()}).status().message(),
                    "c.json: there is no such file"));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace octet
