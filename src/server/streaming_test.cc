// Streams: their chunks, clients that go away, clients that do not read, many at once, and the end of the
// server.
#include <csignal>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "server/loopback_for_test.h"

namespace octet {
namespace {

using Json = nlohmann::json;
using Streaming = Loopback;
using std::chrono::milliseconds;

TEST_F(Streaming, ChatChunks) {
  const Answer answer = chat(R"("stream":true,"stream_options":{"include_usage":true})", "say:héy");
  EXPECT_TRUE(answer.header("content-type").starts_with("text/event-stream"));
  EXPECT_EQ(answer.header("transfer-encoding"), "chunked");
  EXPECT_TRUE(answer.done());
  const auto events = answer.events();
  EXPECT_EQ(events.front()["choices"][0]["delta"]["role"], "assistant");
  std::string text;
  for (size_t i = 1; i + 1 < events.size(); ++i) {
    EXPECT_EQ(events[i]["id"], events[0]["id"]);
    EXPECT_TRUE(events[i]["usage"].is_null());
    text += events[i]["choices"][0]["delta"].value("content", "");
  }
  EXPECT_EQ(text, "héy");
  EXPECT_EQ(events[events.size() - 2]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(events.back()["choices"], Json::array());
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 5);
}

TEST_F(Streaming, TokensComeOneByOne) {
  engine_options_.step = milliseconds(3);
  const auto events = complete(R"({"prompt":"say:abcdef","stream":true})").events();
  EXPECT_EQ(events.size(), 7u);  // six letters, and the end
  const auto usage =
      complete(R"({"prompt":"say:ab","stream":true,"stream_options":{"continuous_usage_stats":true}})");
  EXPECT_EQ(usage.events()[0]["usage"]["completion_tokens"], 1);
  EXPECT_EQ(usage.events()[1]["usage"]["completion_tokens"], 2);
}

TEST_F(Streaming, SeveralChoicesAndPrompts) {
  const Answer answer = complete(
      R"({"prompt":["say:ab","say:cd"],"n":2,"stream":true,"echo":true,"logprobs":1,"return_token_ids":true})");
  std::map<int, std::string> texts;
  std::map<int, std::vector<int>> offsets;
  std::map<int, int> ids, finishes;
  for (const Json& event : answer.events()) {
    const Json& c = event["choices"][0];
    texts[c["index"]] += c["text"];
    ids[c["index"]] += static_cast<int>(c["token_ids"].size());
    finishes[c["index"]] += !c["finish_reason"].is_null();
    if (c["logprobs"].is_null()) continue;
    for (const Json& o : c["logprobs"]["text_offset"]) offsets[c["index"]].push_back(o);
  }
  EXPECT_EQ(texts,
            (std::map<int, std::string>{{0, "say:abab"}, {1, "say:abab"}, {2, "say:cdcd"}, {3, "say:cdcd"}}));
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(ids[i], 2);
    EXPECT_EQ(finishes[i], 1);
    EXPECT_EQ(offsets[i], (std::vector<int>{0, 0, 1, 2, 3, 4, 5, 6, 7}));
  }
}

TEST_F(Streaming, StopStringAcrossChunks) {
  const Answer answer = complete(R"({"prompt":"say:abcEN and END there","stream":true,"stop":"END"})");
  std::string text;
  for (const Json& event : answer.events()) text += event["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(text, "abcEN and ");
  EXPECT_EQ(answer.events().back()["choices"][0]["stop_reason"], "END");
}

TEST_F(Streaming, ErrorsBeforeTheStreamAreAnswers) {
  const Answer answer = complete(R"({"prompt":"x","stream":true,"max_tokens":100000})");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.header("content-type"), "application/json");
}

TEST_F(Streaming, AClientThatGoesAwayFreesItsSequence) {
  for (const bool stream : {true, false}) {
    TestClient client(port());
    client.send_request("POST", "/v1/completions",
                        Json({{"prompt", "x"}, {"max_tokens", 4000}, {"stream", stream}}).dump());
    ASSERT_TRUE(eventually([&] { return engine_->open_requests() == 1; }));
    if (stream) client.read_until("data: ");
    engine_->pause(false);
    client.close();
    EXPECT_TRUE(eventually([&] { return engine_->open_requests() == 0; }, milliseconds(500)));
  }
  EXPECT_EQ(engine_->n_cancelled, 2);
  EXPECT_TRUE(eventually([&] {
    return get("/metrics").body.find("octet:open_generations{model_name=\"fake\"} 0") != std::string::npos;
  }));
}

TEST_F(Streaming, ASlowReaderLosesNothing) {
  engine_options_.step = std::chrono::microseconds(20);
  engine_options_.max_context = 100'000;
  TestClient client(port(), 4096);
  client.send_request("POST", "/v1/completions", R"({"prompt":"x","n":16,"max_tokens":4000,"stream":true})");
  // All tokens have reached the connection before the first of them is read.
  ASSERT_TRUE(eventually([&] {
    return get("/metrics").body.find("vllm:request_generation_tokens_count{model_name=\"fake\"} 16") !=
           std::string::npos;
  }));
  const Answer answer = client.read_answer();
  ASSERT_TRUE(answer.done());
  size_t n = 0;
  const auto events = answer.events();
  for (const Json& event : events) n += event["choices"][0]["text"].get<std::string>().size();
  EXPECT_EQ(n, 64'000u);
  EXPECT_LT(events.size(), 10'000u);  // what came after the system's buffers were full is in few chunks
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "length");
}

TEST_F(Streaming, AReaderThatIsTooSlowIsDropped) {
  engine_options_.step = std::chrono::microseconds(20);
  engine_options_.max_context = 100'000'000;
  options_.max_unsent_bytes = 80'000;
  TestClient client(port(), 4096), other(port());
  client.send_request("POST", "/v1/completions",
                      R"({"prompt":"x","n":16,"max_tokens":90000000,"stream":true})");
  ASSERT_TRUE(eventually([&] { return engine_->open_requests() == 1; }));
  // It holds up nobody meanwhile.
  other.send_request("POST", "/v1/completions", R"({"prompt":"say:a"})");
  EXPECT_EQ(other.read_answer().status, 200);
  EXPECT_TRUE(eventually([&] { return engine_->open_requests() == 0; }));
  EXPECT_TRUE(client.read_to_end());
  EXPECT_NE(get("/metrics").body.find("octet:dropped_clients_total{model_name=\"fake\"} 1"),
            std::string::npos);
}

TEST_F(Streaming, AReaderThatTakesNothingIsDroppedAfterAWhile) {
  engine_options_.step = std::chrono::microseconds(20);
  options_.write_timeout = milliseconds(500);
  engine_options_.max_context = 2'000'000;
  options_.max_unsent_bytes = 64 << 20;
  TestClient client(port(), 4096);
  client.send_request("POST", "/v1/completions",
                      R"({"prompt":"x","n":16,"max_tokens":1000000,"stream":true})");
  EXPECT_TRUE(eventually([&] {
    return get("/v1/status").status == 200 &&
           get("/metrics").body.find("octet:open_generations{model_name=\"fake\"} 1") != std::string::npos;
  }));
  EXPECT_TRUE(eventually([&] {
    return get("/metrics").body.find("octet:open_generations{model_name=\"fake\"} 0") != std::string::npos;
  }));
}

// Sanitizers keep freed memory and shadows of all of it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kMemoryFactor = 4;
#else
constexpr int64_t kMemoryFactor = 1;
#endif

int64_t resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoll(line.substr(6));
  }
  return 0;
}

TEST_F(Streaming, AThousandStreamsInBoundedMemory) {
  engine_options_.step = milliseconds(100);
  port();
  const int64_t before = resident_kib();
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 1000; ++i) {
    clients.push_back(std::make_unique<TestClient>(port()));
    clients.back()->send_request(
        "POST", "/v1/chat/completions",
        R"({"messages":[{"role":"user","content":"x"}],"max_tokens":20,"stream":true})");
  }
  ASSERT_TRUE(eventually([&] { return engine_->open_requests() == 1000; }));
  const int64_t open = resident_kib();
  for (auto& client : clients) {
    const Answer answer = client->read_answer();
    ASSERT_TRUE(answer.done());
    ASSERT_GE(answer.events().size(), 2u);
  }
  // 64 KiB a stream, the test's own clients included.
  EXPECT_LT(open - before, kMemoryFactor * 64'000);
  EXPECT_LT(resident_kib() - before, kMemoryFactor * 64'000);
}

TEST_F(Streaming, DrainingFinishesWhatIsOpenAndRefusesTheRest) {
  engine_options_.step = milliseconds(5);
  TestClient stream(port()), idle(port());
  idle.send_request("GET", "/health");
  idle.read_answer();
  stream.send_request("POST", "/v1/completions", R"({"prompt":"x","max_tokens":100,"stream":true})");
  stream.read_until("data: ");
  TestClient late(port());
  late.send("POST /v1/completions HTTP/1.1\r\n");
  ASSERT_TRUE(eventually([&] {
    return get("/metrics").body.find("octet:open_connections{model_name=\"fake\"} 4") != std::string::npos;
  }));
  server_->request_drain();
  EXPECT_TRUE(idle.read_to_end());
  EXPECT_EQ(get("/health").status, 503);
  const std::string body = R"({"prompt":"say:a"})";
  late.send("Host: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_EQ(late.read_answer().status, 503);
  late.close();
  EXPECT_NE(stream.read_until("[DONE]").find("length"), std::string::npos);
  stream.close();
  server_->wait();
  EXPECT_EQ(engine_->n_cancelled, 0);
}

TEST_F(Streaming, DrainingEndsWithItsTime) {
  options_.drain_timeout = milliseconds(300);
  TestClient stream(port());
  stream.send_request("POST", "/v1/completions", R"({"prompt":"x","max_tokens":4000,"stream":true})");
  stream.read_until("data: ");
  engine_->pause(true);
  server_->request_drain();
  server_->wait();
  EXPECT_EQ(engine_->n_cancelled, 1);
}

TEST_F(Streaming, StoppingCancelsWhatIsOpen) {
  engine_options_.step = milliseconds(5);
  TestClient stream(port()), whole(port());
  stream.send_request("POST", "/v1/completions", R"({"prompt":"x","max_tokens":4000,"stream":true})");
  whole.send_request("POST", "/v1/completions", R"({"prompt":"x","max_tokens":4000})");
  ASSERT_TRUE(eventually([&] { return engine_->open_requests() == 2; }));
  server_->stop();
  server_->stop();
  server_->wait();
  server_->wait();
  EXPECT_TRUE(stream.read_to_end());
  EXPECT_TRUE(eventually([&] { return engine_->open_requests() == 0; }));
  EXPECT_EQ(engine_->n_cancelled, 2);
}

TEST_F(Streaming, SignalsDrainAndThenStop) {
  engine_options_.step = milliseconds(5);
  TestClient stream(port());
  stream.send_request("POST", "/v1/completions", R"({"prompt":"x","max_tokens":4000,"stream":true})");
  stream.read_until("data: ");
  std::atomic<bool> ended = false;
  std::thread runner([&] {
    run_until_signal(*server_);
    ended = true;
  });
  std::this_thread::sleep_for(milliseconds(100));  // until it listens for signals
  // To the thread that listens: a handler on another one reads what that thread wrote without a lock.
  pthread_kill(runner.native_handle(), SIGTERM);
  EXPECT_TRUE(eventually([&] {
    try {
      return get("/health").status == 503;
    } catch (const std::exception&) {  // connected just before: draining closes connections that are idle
      return false;
    }
  }));
  EXPECT_FALSE(ended);
  pthread_kill(runner.native_handle(), SIGTERM);
  runner.join();
  EXPECT_EQ(engine_->n_cancelled, 1);
}

TEST_F(Streaming, ADeviceThatFailsEndsTheServerOnceItsClientsKnow) {
  port();
  TestClient stream(port());
  stream.send_request("POST", "/v1/completions", R"({"prompt":"x","max_tokens":4000,"stream":true})");
  stream.read_until("data: ");
  engine_->fail_device();
  EXPECT_NE(stream.read_until("\n\ndata: [DONE]").find("the fake device broke"), std::string::npos);
  stream.close();
  server_->wait();
  EXPECT_THROW(get("/health"), std::exception);
}

TEST_F(Streaming, ClientsThatComeAndGo) {
  port();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 60; ++i) {
        TestClient client(port());
        const bool stream = (i + t) % 2;
        client.send_request(
            "POST", "/v1/completions",
            Json({{"prompt", "say:0123456789"}, {"n", 1 + i % 3}, {"stream", stream}}).dump());
        if (i % 3 == 0) continue;  // gone before the answer
        const Answer answer = client.read_answer();
        EXPECT_EQ(answer.status, 200);
        EXPECT_TRUE(!stream || answer.done());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return engine_->open_requests() == 0; }));
}

}  // namespace
}  // namespace octet
