// The endpoints over loopback, with a fake engine behind them.
#include <gtest/gtest.h>

#include "server/loopback_for_test.h"

namespace octet {
namespace {

using Json = nlohmann::json;
using Api = Loopback;

TEST_F(Api, Completion) {
  const Json j = complete(R"({"prompt":"say:héllo"})").json();
  EXPECT_EQ(j["object"], "text_completion");
  EXPECT_EQ(j["model"], "fake");
  EXPECT_EQ(j["choices"][0]["text"], "héllo");
  EXPECT_EQ(j["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(j["choices"][0]["stop_reason"].is_null());
  EXPECT_EQ(j["usage"]["prompt_tokens"], 11);     // <s> and ten bytes
  EXPECT_EQ(j["usage"]["completion_tokens"], 7);  // six bytes and the end of the sequence
}

TEST_F(Api, CompletionOfSeveralPromptsAndChoices) {
  const Json j = complete(R"({"prompt":["say:a","say:b"],"n":2,"return_token_ids":true})").json();
  ASSERT_EQ(j["choices"].size(), 4u);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(j["choices"][i]["index"], i);
    EXPECT_EQ(j["choices"][i]["text"], i < 2 ? "a" : "b");
    EXPECT_EQ(j["choices"][i]["token_ids"], Json({i < 2 ? 'a' : 'b'}));
  }
  EXPECT_EQ(j["usage"]["prompt_tokens"], 12);  // each prompt counts once
  const Json ids = complete(R"({"prompt":[[115,97,121,58,120],[115,97,121,58,121]]})").json();
  EXPECT_EQ(ids["choices"][1]["text"], "y");
}

TEST_F(Api, DefaultsOfTheTwoKinds) {
  EXPECT_EQ(complete(R"({"prompt":"x"})").json()["usage"]["completion_tokens"], 16);
  engine_.reset();
  server_.reset();
  engine_options_.max_context = 64;
  const Json j = chat("", "x").json();
  EXPECT_EQ(j["usage"]["total_tokens"], 64);  // all that fits
  EXPECT_EQ(j["choices"][0]["finish_reason"], "length");
}

TEST_F(Api, EchoAndLegacyLogprobs) {
  const Json c = complete(R"({"prompt":"say:ab","echo":true,"logprobs":1})").json()["choices"][0];
  EXPECT_EQ(c["text"], "say:abab");
  const Json& l = c["logprobs"];
  EXPECT_EQ(l["tokens"], Json({"<s>", "s", "a", "y", ":", "a", "b", "a", "b"}));
  EXPECT_TRUE(l["token_logprobs"][0].is_null());
  EXPECT_EQ(l["token_logprobs"].size(), 9u);
  EXPECT_EQ(l["top_logprobs"][1].size(), 1u);
  EXPECT_EQ(l["text_offset"], Json({0, 0, 1, 2, 3, 4, 5, 6, 7}));
  // The prompt alone, as evaluation harnesses ask.
  const Json p = complete(R"({"prompt":"say:ab","echo":true,"logprobs":0,"max_tokens":0})").json();
  EXPECT_EQ(p["choices"][0]["text"], "say:ab");
  EXPECT_EQ(p["choices"][0]["logprobs"]["tokens"].size(), 7u);
  EXPECT_EQ(p["usage"]["completion_tokens"], 0);
}

TEST_F(Api, PromptLogprobs) {
  const Json c = complete(R"({"prompt":"ab","prompt_logprobs":2,"max_tokens":1})").json()["choices"][0];
  ASSERT_EQ(c["prompt_logprobs"].size(), 3u);
  EXPECT_TRUE(c["prompt_logprobs"][0].is_null());
  EXPECT_EQ(c["prompt_logprobs"][1]["97"]["rank"], 1);
  const Json whole = chat(R"("prompt_logprobs":0)").json();
  EXPECT_EQ(whole["prompt_logprobs"].size(), engine_->last_request().prompt.size());
}

TEST_F(Api, BestOfKeepsTheMostLikely) {
  // Seeds give each choice other letters; the server keeps the one whose mean log probability is highest.
  const Json all =
      complete(R"({"prompt":"x","n":5,"seed":1,"temperature":1,"max_tokens":6,"logprobs":0})").json();
  double best = -1e9;
  std::string text;
  for (const Json& c : all["choices"]) {
    double sum = 0;
    for (const Json& l : c["logprobs"]["token_logprobs"]) sum += l.get<double>();
    if (sum > best) {
      best = sum;
      text = c["text"];
    }
  }
  const Json one = complete(R"({"prompt":"x","best_of":5,"seed":1,"temperature":1,"max_tokens":6})").json();
  ASSERT_EQ(one["choices"].size(), 1u);
  EXPECT_EQ(one["choices"][0]["text"], text);
  EXPECT_TRUE(one["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(one["usage"]["completion_tokens"], 30);
}

TEST_F(Api, StopStringEndsTheSequenceInTheEngine) {
  // Long enough that it is still going on when the server has seen the stop string, on a busy machine too.
  const std::string much = "say:one two " + std::string(1500, 'z');
  const Json c = complete(R"({"max_tokens":1512,"stop":["x","two"],"prompt":")" + much + R"("})").json();
  EXPECT_EQ(c["choices"][0]["text"], "one ");
  EXPECT_EQ(c["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(c["choices"][0]["stop_reason"], "two");
  EXPECT_EQ(c["usage"]["completion_tokens"], 7);
  EXPECT_EQ(engine_->n_cancelled_choices, 1);
  EXPECT_TRUE(eventually([&] { return engine_->open_requests() == 0; }));
  const Json kept =
      complete(R"({"prompt":"say:one two","stop":"two","include_stop_str_in_output":true})").json();
  EXPECT_EQ(kept["choices"][0]["text"], "one two");
  const Json id = complete(R"({"prompt":"say:abc","stop_token_ids":[99]})").json()["choices"][0];
  EXPECT_EQ(id["text"], "ab");
  EXPECT_EQ(id["stop_reason"], 99);
}

TEST_F(Api, Chat) {
  const Json j = chat(R"("logprobs":true,"top_logprobs":2,"user":"me")").json();
  EXPECT_EQ(j["object"], "chat.completion");
  EXPECT_EQ(j["choices"][0]["message"]["content"], "hello");
  EXPECT_EQ(j["choices"][0]["logprobs"]["content"].size(), 5u);
  EXPECT_EQ(j["choices"][0]["logprobs"]["content"][0]["top_logprobs"].size(), 2u);
  EXPECT_EQ(tokenizer_.decode(engine_->last_request().prompt, false),
            "<|im_start|>user\nsay:hello<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(Api, ChatWithToolsAndContinuation) {
  chat(R"("tools":[{"type":"function","function":{"name":"f"}}],"max_tokens":1)");
  EXPECT_NE(tokenizer_.decode(engine_->last_request().prompt, false).find("[1 tools]"), std::string::npos);
  const Answer answer =
      post("/v1/chat/completions", R"({"continue_final_message":true,"max_tokens":3,"messages":[
      {"role":"user","content":"go"},{"role":"assistant","content":"once upon "}]})");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(tokenizer_.decode(engine_->last_request().prompt, false),
            "<|im_start|>user\ngo<|im_end|>\n<|im_start|>assistant\nonce upon ");
}

TEST_F(Api, ChatWithoutATemplate) {
  with_template_ = false;
  const Answer answer = chat("");
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.error()["message"].get<std::string>().find("no chat template"), std::string::npos);
}

TEST_F(Api, Models) {
  const Json j = get("/v1/models").json();
  EXPECT_EQ(j["data"][0]["id"], "fake");
  EXPECT_EQ(j["data"][0]["max_model_len"], 4096);
  EXPECT_EQ(get("/v1/models/fake").json()["object"], "model");
  EXPECT_EQ(get("/v1/models/f%61ke").status, 200);
  EXPECT_EQ(get("/v1/models/other").error()["code"], "model_not_found");
}

TEST_F(Api, ServedName) {
  options_.served_model_name = "org/name";
  EXPECT_EQ(get("/v1/models").json()["data"][0]["id"], "org/name");
  EXPECT_EQ(get("/v1/models/org/name").status, 200);
  EXPECT_EQ(complete(R"({"model":"org/name","prompt":"say:a"})").status, 200);
  const Answer answer = complete(R"({"model":"fake","prompt":"say:a"})");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.error()["param"], "model");
}

TEST_F(Api, TokenizeAndBack) {
  const Json t = post("/tokenize", R"({"prompt":"ab","return_token_strs":true})").json();
  EXPECT_EQ(t["tokens"], Json({256, 97, 98}));
  EXPECT_EQ(t["token_strs"], Json({"<s>", "a", "b"}));
  EXPECT_EQ(t["count"], 3);
  EXPECT_EQ(t["max_model_len"], 4096);
  EXPECT_EQ(post("/tokenize", R"({"prompt":"ab","add_special_tokens":false})").json()["count"], 2);
  EXPECT_EQ(post("/tokenize", R"({"prompt":""})").json()["tokens"], Json({256}));
  const Json c = post("/tokenize", R"({"messages":[{"role":"user","content":"x"}]})").json();
  EXPECT_EQ(c["tokens"][0], 258);
  EXPECT_EQ(post("/detokenize", R"({"tokens":[195,169]})").json()["prompt"], "é");
}

TEST_F(Api, HealthVersionStatus) {
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_FALSE(get("/version").json()["version"].get<std::string>().empty());
  const Json s = get("/v1/status").json();
  EXPECT_EQ(s["model"], "fake");
  EXPECT_EQ(s["scheme"], "int8-minmax");
  EXPECT_EQ(s["kv_usage"], 0.25);
  EXPECT_EQ(s["draining"], false);
}

TEST_F(Api, Metrics) {
  complete(R"({"prompt":"say:abc"})");
  const Answer answer = get("/metrics");
  EXPECT_TRUE(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
  for (const char* line :
       {"vllm:num_requests_running{model_name=\"fake\"} 0",
        "vllm:kv_cache_usage_perc{model_name=\"fake\"} 0.25", "vllm:gpu_cache_usage_perc{",
        "vllm:generation_tokens_total{model_name=\"fake\"} 3",
        "vllm:prompt_tokens_total{model_name=\"fake\"} 8", "vllm:prefix_cache_queries_total{",
        "vllm:prefix_cache_hits_total{", "vllm:num_preemptions_total{", "vllm:num_requests_waiting{",
        "vllm:request_success_total{model_name=\"fake\",finished_reason=\"stop\"} ",
        "vllm:time_to_first_token_seconds_bucket{model_name=\"fake\",le=\"0.01\"} 1",
        "vllm:time_to_first_token_seconds_bucket{model_name=\"fake\",le=\"+Inf\"} 2",
        "vllm:time_to_first_token_seconds_count{model_name=\"fake\"} 2",
        "vllm:inter_token_latency_seconds_sum{", "vllm:time_per_output_token_seconds_bucket{",
        "vllm:e2e_request_latency_seconds_bucket{", "vllm:request_queue_time_seconds_bucket{",
        "vllm:request_generation_tokens_count{model_name=\"fake\"} 1",
        "octet:http_responses_total{model_name=\"fake\",status=\"200\"} 1"}) {
    EXPECT_NE(answer.body.find(line), std::string::npos) << line;
  }
}

TEST_F(Api, ThePageHasAPolicyAndANonceOfItsOwn) {
  const Answer a = get("/"), b = get("/");
  EXPECT_TRUE(a.header("content-type").starts_with("text/html"));
  const std::string policy = a.header("content-security-policy");
  EXPECT_NE(policy.find("default-src 'none'"), std::string::npos);
  const size_t at = policy.find("'nonce-") + 7;
  const std::string nonce = policy.substr(at, policy.find('\'', at) - at);
  EXPECT_EQ(nonce.size(), 32u);
  EXPECT_NE(a.body.find("<script nonce=\"" + nonce + "\">"), std::string::npos);
  EXPECT_EQ(a.body.find("{{nonce}}"), std::string::npos);
  EXPECT_NE(policy, b.header("content-security-policy"));
  // Nothing from elsewhere.
  EXPECT_EQ(a.body.find("src=\"http"), std::string::npos);
  EXPECT_EQ(a.body.find("https://"), std::string::npos);
}

TEST_F(Api, ThePageCanBeOff) {
  options_.page = false;
  EXPECT_EQ(get("/").status, 404);
}

TEST_F(Api, Keys) {
  options_.api_keys = {"first", "second"};
  EXPECT_EQ(get("/v1/models").error()["code"], "invalid_api_key");
  EXPECT_EQ(get("/v1/models").header("www-authenticate"), "Bearer");
  EXPECT_EQ(get("/v1/models", "Authorization: Bearer firs\r\n").status, 401);
  EXPECT_EQ(get("/v1/models", "Authorization: Bearer firstt\r\n").status, 401);
  EXPECT_EQ(get("/v1/models", "Authorization: Bearer \r\n").status, 401);
  EXPECT_EQ(get("/v1/models", "Authorization: Basic first\r\n").status, 401);
  EXPECT_EQ(get("/v1/models", "Authorization: Bearer second\r\n").status, 200);
  EXPECT_EQ(complete(R"({"prompt":"say:a"})").status, 401);
  EXPECT_EQ(post("/v1/completions", R"({"prompt":"say:a"})", "Authorization: Bearer first\r\n").status, 200);
  for (const char* open : {"/health", "/metrics", "/version", "/"}) EXPECT_EQ(get(open).status, 200) << open;
}

TEST_F(Api, Cors) {
  options_.cors_origins = {"http://a.example"};
  EXPECT_EQ(get("/v1/models", "Origin: http://a.example\r\n").header("access-control-allow-origin"),
            "http://a.example");
  EXPECT_EQ(get("/v1/models", "Origin: http://b.example\r\n").header("access-control-allow-origin"), "");
  TestClient client(port());
  client.send_request("OPTIONS", "/v1/chat/completions", "", "Origin: http://a.example\r\n");
  const Answer preflight = client.read_answer();
  EXPECT_EQ(preflight.status, 204);
  EXPECT_NE(preflight.header("access-control-allow-headers").find("authorization"), std::string::npos);
}

TEST_F(Api, WrongPathsAndMethods) {
  EXPECT_EQ(get("/nothing").status, 404);
  EXPECT_EQ(get("/nothing").error()["type"], "invalid_request_error");
  EXPECT_EQ(get("/v1/completions").status, 405);
  EXPECT_EQ(get("/v1/completions").header("allow"), "POST");
  EXPECT_EQ(post("/health", "{}").status, 405);
  TestClient client(port());
  client.send_request("OPTIONS", "/v1/models");
  EXPECT_EQ(client.read_answer().status, 405);
}

TEST_F(Api, TooLongAPrompt) {
  engine_options_.max_context = 20;
  const Answer prompt = complete(R"({"prompt":"0123456789012345678901234"})");
  EXPECT_EQ(prompt.status, 400);
  EXPECT_EQ(prompt.error()["code"], "context_length_exceeded");
  EXPECT_EQ(prompt.error()["param"], "prompt");
  const Answer tokens = complete(R"({"prompt":"0123456789","max_tokens":10})");
  EXPECT_EQ(tokens.error()["code"], "context_length_exceeded");
  EXPECT_EQ(tokens.error()["param"], "max_tokens");
  EXPECT_EQ(complete(R"({"prompt":"0123456789","max_tokens":9})").status, 200);
  EXPECT_EQ(complete(R"({"prompt":"0123456789","min_tokens":10})").error()["param"], "min_tokens");
  EXPECT_EQ(complete(R"({"prompt":"","add_special_tokens":false})").error()["param"], "prompt");
}

TEST_F(Api, AFullQueueSaysWhenToTryAgain) {
  engine_options_.max_open = 2;
  start();
  engine_->pause(true);
  TestClient first(port());
  first.send_request("POST", "/v1/completions", R"({"prompt":["a","b"]})");
  ASSERT_TRUE(eventually([&] { return engine_->open_requests() == 2; }));
  const Answer full = complete(R"({"prompt":"c"})");
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.header("retry-after"), "1");
  EXPECT_EQ(full.error()["type"], "rate_limit_error");
  // A request of which a part does not fit leaves nothing behind.
  engine_->pause(false);
  EXPECT_EQ(first.read_answer().status, 200);
  EXPECT_EQ(complete(R"({"prompt":["a","b","c"]})").status, 429);
  EXPECT_TRUE(eventually([&] { return engine_->open_requests() == 0; }));
}

TEST_F(Api, AFailureOfTheEngine) {
  start();
  engine_->pause(true);
  TestClient whole(port()), stream(port());
  whole.send_request("POST", "/v1/completions", R"({"prompt":"a","max_tokens":1000})");
  stream.send_request("POST", "/v1/completions", R"({"prompt":"a","max_tokens":1000,"stream":true})");
  ASSERT_TRUE(eventually([&] { return engine_->open_requests() == 2; }));
  engine_->fail_all();
  engine_->pause(false);
  const Answer answer = whole.read_answer();
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.error()["message"], "the fake device broke");
  const Answer events = stream.read_answer();
  EXPECT_EQ(events.status, 200);
  EXPECT_EQ(events.events().back()["error"]["type"], "server_error");
  EXPECT_TRUE(events.done());
}

TEST_F(Api, TheAddressMustBeFree) {
  start();
  ServerOptions again = options_;
  again.port = port();
  auto second = Server::start(model(), again);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find(std::to_string(port())), std::string::npos);
  again.port = 70000;
  EXPECT_EQ(Server::start(model(), again).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(Api, SeveralAddresses) {
  options_.host = "localhost";
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_EQ(server_->url(), "http://localhost:" + std::to_string(port()));
}

}  // namespace
}  // namespace octet
