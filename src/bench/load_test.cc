// Workloads, events and reports of `octet bench serve`; the client itself is tried against a server in
// tests/server.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "bench/load_client.h"
#include "bench/load_report.h"
#include "bench/load_workload.h"
#include "bench/sse_reader.h"

namespace octet {
namespace {

class LoadFiles : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    const auto folder = std::filesystem::temp_directory_path() / "octet_load_test";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / name) << text;
    return (folder / name).string();
  }
};

TEST(Load, ReadsUrls) {
  const auto is = [](const char* text, const char* host, const char* port, const char* path) {
    const auto url = parse_url(text);
    ASSERT_TRUE(url.ok()) << text;
    EXPECT_EQ(url->host + "|" + url->port + "|" + url->path, std::string(host) + "|" + port + "|" + path)
        << text;
  };
  is("http://127.0.0.1:8000", "127.0.0.1", "8000", "");
  is("http://host:1/v1/", "host", "1", "");
  is("host/base/v1", "host", "80", "/base");
  is("http://[::1]:80", "::1", "80", "");
  is("http://[::1]", "::1", "80", "");
  for (const char* text :
       {"", "http://", "http://:80", "http://h:port", "http://h:", "http://h:123456", "http://a b"})
    EXPECT_EQ(parse_url(text).status().code(), StatusCode::kInvalidArgument) << text;
  EXPECT_EQ(parse_url("https://h").status().code(), StatusCode::kUnsupported);
}

TEST(Load, CutsEventsWhereverTheBytesAreCut) {
  const std::string stream =
      ": comment\r\n\r\ndata: "
      "{\"choices\":[{\"text\":\"a\"}]}\n\ndata:{\"choices\":[{\"delta\":{\"role\":\"assistant\","
      "\"content\":\"\"}}]}\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n"
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    SseReader reader;
    int n_text = 0, n_events = 0;
    int64_t usage = -1;
    bool done = false;
    for (size_t i = 0; i < stream.size(); i += piece) {
      reader.feed(std::string_view(stream).substr(i, piece), [&](const SseReader::Event& event) {
        EXPECT_EQ(event.error, "");
        ++n_events;
        n_text += event.has_text ? 1 : 0;
        usage = std::max(usage, event.completion_tokens);
        done = done || event.done;
      });
    }
    EXPECT_EQ(n_events, 5);
    EXPECT_EQ(n_text, 2);
    EXPECT_EQ(usage, 2);
    EXPECT_TRUE(done);
  }
}

TEST(Load, SaysWhatIsWrongWithAnEvent) {
  EXPECT_EQ(SseReader::parse(R"({"error":{"message":"too long","code":400}})").error, "too long");
  EXPECT_NE(SseReader::parse(R"({"error":"broken"})").error.find("broken"), std::string::npos);
  for (const char* text : {"", "{", "[1]", "nonsense", "\xff\xfe", "3"})
    EXPECT_NE(SseReader::parse(text).error.find("no JSON object"), std::string::npos) << text;
  for (const char* text :
       {"{}", R"({"choices":3})", R"({"choices":[3,{"delta":[]}],"usage":{"completion_tokens":"x"}})"})
    EXPECT_FALSE(SseReader::parse(text).has_text) << text;
}

TEST(Load, RandomLengthsStayInTheirRangeAndSeedsRepeat) {
  const RandomLoad load{.n_requests = 200,
                        .input_len = 100,
                        .output_len = 10,
                        .range_ratio = 0.5,
                        .token_low = 7,
                        .token_high = 9};
  const auto requests = random_load(load, 5), again = random_load(load, 5), other = random_load(load, 6);
  size_t least = 1000, most = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    least = std::min(least, requests[i].prompt_ids.size());
    most = std::max(most, requests[i].prompt_ids.size());
    for (const int32_t id : requests[i].prompt_ids) EXPECT_TRUE(id == 7 || id == 8);
    EXPECT_EQ(requests[i].prompt_ids, again[i].prompt_ids);
  }
  EXPECT_GE(least, 50u);
  EXPECT_LE(most, 150u);
  EXPECT_GT(most, least + 50);
  EXPECT_NE(requests[0].prompt_ids, other[0].prompt_ids);
}

TEST(Load, ArrivalsHaveTheRateAndTheShape) {
  std::vector<LoadRequest> requests(20'000);
  const auto variation = [&](double burstiness) {
    set_arrivals(requests, 50, burstiness, 3);
    double sum = 0, squares = 0;
    for (size_t i = 1; i < requests.size(); ++i) {
      const double gap = requests[i].arrival - requests[i - 1].arrival;
      EXPECT_GE(gap, 0);
      sum += gap;
      squares += gap * gap;
    }
    const double n = static_cast<double>(requests.size() - 1), mean = sum / n;
    EXPECT_NEAR(mean, 0.02, 0.001);
    return (squares / n - mean * mean) / (mean * mean);  // 1 / burstiness for a gamma distribution
  };
  EXPECT_NEAR(variation(1), 1, 0.1);
  EXPECT_NEAR(variation(4), 0.25, 0.03);
  EXPECT_NEAR(variation(0.5), 2, 0.3);
  set_arrivals(requests, 0, 1, 3);
  EXPECT_EQ(requests.back().arrival, 0);
}

TEST_F(LoadFiles, ConversationsOfEveryKind) {
  const std::string path =
      write("chat.jsonl",
            "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"a\"},"
            "{\"role\":\"assistant\",\"content\":\"x\"}]}\n"
            "{\"conversations\":[{\"from\":\"human\",\"value\":\"b\"}]}\n\n"
            "{\"turns\":[\"c\",\"d\"]}\n{\"prompt\":\"e\"}\n{\"messages\":[]}\n{\"other\":1}\n");
  const auto requests = chat_load(path, 6, 9, 1);
  ASSERT_TRUE(requests.ok()) << requests.status().message();
  std::multiset<std::string> texts;
  for (const auto& request : *requests)
    texts.insert(nlohmann::json::parse(request.messages).back()["content"]);
  EXPECT_EQ(texts.size(), 6u);
  for (const char* text : {"a", "b", "c", "e"}) EXPECT_GE(texts.count(text), 1u) << text;
  EXPECT_TRUE(chat_load(write("array.json", R"([{"prompt":"p"}])"), 1, 9, 1).ok());
  for (const auto& [text, expected] :
       {std::pair("", "no entry"), std::pair("{\"a\":1}\nnonsense\n", "line 2"),
        std::pair("{\"a\":1}", "user's message"), std::pair("[3]", "entry 1")}) {
    const auto bad = chat_load(write("bad.json", text), 1, 9, 1);
    ASSERT_FALSE(bad.ok()) << text;
    EXPECT_NE(bad.status().message().find(expected), std::string::npos) << bad.status().message();
  }
  EXPECT_EQ(chat_load("/no/such/file", 1, 9, 1).status().code(), StatusCode::kNotFound);
}

TEST_F(LoadFiles, Traces) {
  const auto azure =
      trace_load(write("azure.csv",
                       "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.5,37,4\r\n"
                       "2023-11-16 18:15:50.5,9999,1\r\n2023-11-16 18:16:46.5,3,0\r\n"),
                 10, 2, 100, {});
  ASSERT_TRUE(azure.ok()) << azure.status().message();
  ASSERT_EQ(azure->size(), 2u);  // one is too long
  EXPECT_EQ((*azure)[0].prompt_ids.size(), 37u);
  EXPECT_EQ((*azure)[1].arrival, 30);
  EXPECT_EQ((*azure)[1].output_len, 1);
  const auto mooncake = trace_load(
      write("mooncake.jsonl", R"({"timestamp":0,"input_length":600,"output_length":5,"hash_ids":[1,2]})"
                              "\n"
                              R"({"timestamp":1500,"input_length":1024,"output_length":5,"hash_ids":[1,3]})"),
      10, 1, 2000, {});
  ASSERT_TRUE(mooncake.ok()) << mooncake.status().message();
  const auto &first = (*mooncake)[0].prompt_ids, &second = (*mooncake)[1].prompt_ids;
  EXPECT_EQ(first.size(), 600u);
  EXPECT_EQ(second.size(), 1024u);
  EXPECT_EQ((*mooncake)[1].arrival, 1.5);
  EXPECT_TRUE(std::equal(first.begin(), first.begin() + 512, second.begin()));
  EXPECT_NE(first[512], second[512]);
  for (const char* text :
       {"", "header\n1,2\n", "header\n2023-11-16 18:15:46,x,4\n", "{\"timestamp\":1}", "{nonsense"}) {
    EXPECT_FALSE(trace_load(write("bad.csv", text), 10, 1, 100, {}).ok()) << text;
  }
}

TEST(Load, ReportsByHand) {
  std::vector<LoadRequest> requests(3);
  for (auto& request : requests) request.prompt_ids.assign(10, 1);
  std::vector<LoadResult> results(3);
  results[0] = {"", 1.0, 0.2, 1.2, 1.3, {0.5f, 0.5f}, 10, 3};
  results[1] = {"", 2.0, 0.4, 2.4, 2.5, {1.0f, 1.0f}, 0, 3};
  results[2] = {"status 500", 1.0, 0, 0, 0.1, {}, 0, 0};
  const auto bounds = parse_goodput({"ttft:300", "tpot:600"});
  ASSERT_TRUE(bounds.ok());
  const LoadReport r = summarize_load(results, requests, *bounds);
  EXPECT_EQ(r.completed, 2);
  EXPECT_EQ(r.failed, 1);
  EXPECT_EQ(r.first_error, "status 500");
  EXPECT_DOUBLE_EQ(r.duration, 3.5);
  EXPECT_EQ(r.total_input_tokens, 20);
  EXPECT_DOUBLE_EQ(r.output_throughput, 6 / 3.5);
  EXPECT_DOUBLE_EQ(r.request_goodput, 1 / 3.5);
  EXPECT_NEAR(r.ttft.median, 300, 1e-6);
  EXPECT_NEAR(r.tpot.mean, 750, 1e-6);
  EXPECT_NEAR(r.itl.median, 750, 1e-3);
  EXPECT_NEAR(r.e2el.p99, 1200 + 0.99 * 1200, 1e-6);
  for (const char* bad : {"ttft", "ttft:", "ttft:x", "ttft:-1", "speed:3"})
    EXPECT_FALSE(parse_goodput({bad}).ok()) << bad;
}

TEST(Load, RatiosHaveIntervalsThatHoldTheMedian) {
  const Ratio ratio = ratio_of({10, 11, 12, 13, 30}, {5, 5.5, 6, 6.5, 10});
  EXPECT_DOUBLE_EQ(ratio.median, 2);
  EXPECT_LE(ratio.low, 2);
  EXPECT_GE(ratio.high, 2);
  EXPECT_DOUBLE_EQ(ratio_of({4, 9}, {2, 3}).low, 2);
  EXPECT_DOUBLE_EQ(ratio_of({4, 9}, {2, 3}).high, 3);
  EXPECT_DOUBLE_EQ(ratio_of({}, {}).median, 0);
}

}  // namespace
}  // namespace octet
