#include "server/openai_request.h"

#include <gtest/gtest.h>

namespace octet {
namespace {

const RequestRules kRules{"m", {0.7f, 0.9f, 0.05f, 1.1f, 20}, 1000};

ApiError completion_error(const std::string& body) {
  CompletionRequest request;
  return parse_completion_request(body, kRules, request).value_or(api_error(0, "no error"));
}

ApiError chat_error(const std::string& members) {
  ChatRequest request;
  const std::string body = R"({"messages":[{"role":"user","content":"x"}],)" + members + "}";
  return parse_chat_request(body, kRules, request).value_or(api_error(0, "no error"));
}

ApiError message_error(const std::string& message) {
  ChatRequest request;
  return parse_chat_request(R"({"messages":[)" + message + "]}", kRules, request)
      .value_or(api_error(0, "no error"));
}

CompletionRequest completion(const std::string& body) {
  CompletionRequest request;
  const auto error = parse_completion_request(body, kRules, request);
  EXPECT_FALSE(error) << error->message;
  return request;
}

ChatRequest chat(const std::string& body) {
  ChatRequest request;
  const auto error = parse_chat_request(body, kRules, request);
  EXPECT_FALSE(error) << error->message;
  return request;
}

TEST(CompletionRequest, DefaultsAreTheModels) {
  const auto r = completion(R"({"prompt":"hi"})");
  EXPECT_EQ(std::get<std::string>(r.prompts.at(0)), "hi");
  const SamplingParams& s = r.common.sampling;
  EXPECT_FLOAT_EQ(s.temperature, 0.7f);
  EXPECT_FLOAT_EQ(s.top_p, 0.9f);
  EXPECT_FLOAT_EQ(s.min_p, 0.05f);
  EXPECT_FLOAT_EQ(s.repetition_penalty, 1.1f);
  EXPECT_EQ(s.top_k, 20);
  EXPECT_FALSE(s.has_seed);
  EXPECT_EQ(s.n_logprobs, -1);
  EXPECT_FALSE(r.common.has_max_tokens);
  EXPECT_FALSE(r.common.stream);
}

TEST(CompletionRequest, EveryField) {
  const auto r =
      completion(R"({"model":"m","prompt":["a","b"],"max_tokens":7,"temperature":0,"top_p":0.5,"top_k":-1,
      "min_p":0.1,"repetition_penalty":1.5,"presence_penalty":-1,"frequency_penalty":2,"logit_bias":{"5":-100,"9":1.5},
      "seed":-3,"min_tokens":2,"stop":["x","y"],"stop_token_ids":[1,2],"ignore_eos":true,"prompt_logprobs":3,"n":2,
      "best_of":3,"priority":-4,"echo":true,"logprobs":5,"include_stop_str_in_output":true,"skip_special_tokens":false,
      "add_special_tokens":false,"return_token_ids":true,"suffix":null,"user":"u","response_format":{"type":"text"}})");
  const SamplingParams& s = r.common.sampling;
  EXPECT_EQ(r.prompts.size(), 2u);
  EXPECT_EQ(s.max_tokens, 7);
  EXPECT_EQ(s.temperature, 0);
  EXPECT_EQ(s.top_k, -1);
  EXPECT_FLOAT_EQ(s.frequency_penalty, 2);
  EXPECT_EQ(s.logit_bias, (std::vector<std::pair<int32_t, float>>{{5, -100.0f}, {9, 1.5f}}));
  EXPECT_TRUE(s.has_seed);
  EXPECT_EQ(s.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(s.stop_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(s.ignore_eos);
  EXPECT_EQ(s.prompt_logprobs, 3);
  EXPECT_EQ(s.n_logprobs, 5);
  EXPECT_EQ(r.common.n, 2);
  EXPECT_EQ(r.best_of, 3);
  EXPECT_EQ(r.common.priority, -4);
  EXPECT_EQ(r.common.stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(r.echo && r.common.include_stop && r.common.return_token_ids);
  EXPECT_FALSE(r.common.skip_special_tokens || r.common.add_special_tokens);
}

TEST(CompletionRequest, FourFormsOfPrompt) {
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(std::get<Ids>(completion(R"({"prompt":[1,2,3.0]})").prompts.at(0)), (Ids{1, 2, 3}));
  const auto lists = completion(R"({"prompt":[[1],[2,3]]})");
  EXPECT_EQ(std::get<Ids>(lists.prompts.at(1)), (Ids{2, 3}));
}

TEST(CompletionRequest, ErrorsNameTheField) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({})", "prompt"},
      {R"({"prompt":null})", "prompt"},
      {R"({"prompt":5})", "prompt"},
      {R"({"prompt":[]})", "prompt"},
      {R"({"prompt":[[]]})", "prompt[0]"},
      {R"({"prompt":["a",1]})", "prompt[1]"},
      {R"({"prompt":[1,"a"]})", "prompt[1]"},
      {R"({"prompt":[1,1000]})", "prompt[1]"},
      {R"({"prompt":[-1]})", "prompt[0]"},
      {R"({"prompt":[[1],[1.5]]})", "prompt[1][0]"},
      {R"({"prompt":[{"a":1}]})", "prompt[0]"},
      {R"({"prompt":"a","max_tokens":"5"})", "max_tokens"},
      {R"({"prompt":"a","max_tokens":-1})", "max_tokens"},
      {R"({"prompt":"a","max_tokens":0})", "max_tokens"},
      {R"({"prompt":"a","max_tokens":1.5})", "max_tokens"},
      {R"({"prompt":"a","max_tokens":3,"max_completion_tokens":4})", "max_tokens"},
      {R"({"prompt":"a","temperature":-0.1})", "temperature"},
      {R"({"prompt":"a","temperature":true})", "temperature"},
      {R"({"prompt":"a","top_p":0})", "top_p"},
      {R"({"prompt":"a","top_p":1.1})", "top_p"},
      {R"({"prompt":"a","top_k":-2})", "top_k"},
      {R"({"prompt":"a","n":0})", "n"},
      {R"({"prompt":"a","n":129})", "n"},
      {R"({"prompt":"a","n":3,"best_of":2})", "best_of"},
      {R"({"prompt":"a","best_of":2,"stream":true})", "best_of"},
      {R"({"prompt":"a","logprobs":21})", "logprobs"},
      {R"({"prompt":"a","logprobs":true})", "logprobs"},
      {R"({"prompt":"a","logit_bias":[1]})", "logit_bias"},
      {R"({"prompt":"a","logit_bias":{"x":1}})", "logit_bias"},
      {R"({"prompt":"a","logit_bias":{"1000":1}})", "logit_bias"},
      {R"({"prompt":"a","logit_bias":{"1":101}})", "logit_bias"},
      {R"({"prompt":"a","stop":5})", "stop"},
      {R"({"prompt":"a","stop":[5]})", "stop"},
      {R"({"prompt":"a","stop":["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"]})",
       "stop"},
      {R"({"prompt":"a","stop_token_ids":[1000]})", "stop_token_ids[0]"},
      {R"({"prompt":"a","seed":"x"})", "seed"},
      {R"({"prompt":"a","seed":18446744073709551615})", "seed"},
      {R"({"prompt":"a","stream":"yes"})", "stream"},
      {R"({"prompt":"a","stream_options":{"include_usage":true}})", "stream_options"},
      {R"({"prompt":"a","stream":true,"stream_options":{"include_usage":1}})",
       "stream_options.include_usage"},
      {R"({"prompt":"a","stream":true,"stream_options":{"x":1}})", "stream_options.x"},
      {R"({"prompt":"a","stream":true,"prompt_logprobs":1})", "prompt_logprobs"},
      {R"({"prompt":"a","min_tokens":5,"max_tokens":4})", "min_tokens"},
      {R"({"prompt":"a","suffix":"x"})", "suffix"},
      {R"({"prompt":"a","use_beam_search":true})", "use_beam_search"},
      {R"({"prompt":"a","guided_json":{}})", "guided_json"},
      {R"({"prompt":"a","response_format":{"type":"json_object"}})", "response_format"},
      {R"({"prompt":"a","mirostat":2})", "mirostat"},
      {R"({"prompt":"a","model":5})", "model"},
  };
  for (const auto& [body, param] : cases) {
    const ApiError error = completion_error(body);
    EXPECT_EQ(error.status, 400) << body;
    EXPECT_EQ(error.param, param) << body << ": " << error.message;
    EXPECT_NE(error.message.find(param), std::string::npos) << body << ": " << error.message;
  }
}

TEST(CompletionRequest, AnotherModelIsNotFound) {
  const ApiError error = completion_error(R"({"prompt":"a","model":"gpt-4"})");
  EXPECT_EQ(error.status, 404);
  EXPECT_EQ(error.code, "model_not_found");
  EXPECT_EQ(error.param, "model");
}

TEST(CompletionRequest, TooManySequences) {
  std::string prompts;
  for (int i = 0; i < 100; ++i) prompts += i ? ",\"a\"" : "\"a\"";
  EXPECT_EQ(completion_error(R"({"n":128,"prompt":[)" + prompts + "]}").param, "n");
}

TEST(CompletionRequest, NeutralValuesOfWhatIsNotBuilt) {
  completion(R"({"prompt":"a","suffix":"","use_beam_search":false,"guided_json":null,"unknown":null,
                 "metadata":{"a":"b"},"store":true,"service_tier":"auto"})");
}

TEST(ChatRequest, MessagesAreBroughtIntoOneForm) {
  const auto r = chat(R"({"messages":[{"role":"developer","content":"s"},
      {"role":"user","name":"bob","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"refusal":null,"annotations":[],"tool_calls":[{"id":"1","type":"function",
        "function":{"name":"f","arguments":"{\"z\":1,\"a\":2}"}}]},
      {"role":"tool","tool_call_id":"1","content":"42"}],
      "tools":[{"type":"function","function":{"name":"f","parameters":{"z":1,"a":2}}}],"tool_choice":"auto",
      "logprobs":true,"top_logprobs":3,"max_completion_tokens":9,"parallel_tool_calls":true,
      "chat_template_kwargs":{"enable_thinking":false}})");
  const Json& m = r.conversation.messages;
  EXPECT_EQ(m[0]["role"], "system");
  EXPECT_EQ(m[1]["content"], "a\nb");
  EXPECT_EQ(m[1]["name"], "bob");
  EXPECT_EQ(m[2]["content"], "");
  EXPECT_EQ(m[2]["tool_calls"][0]["function"]["arguments"].dump(), R"({"z":1,"a":2})");  // the order stays
  EXPECT_EQ(m[3]["tool_call_id"], "1");
  EXPECT_EQ(r.conversation.tools[0]["function"]["parameters"].dump(), R"({"z":1,"a":2})");
  EXPECT_EQ(r.conversation.template_kwargs["enable_thinking"], false);
  EXPECT_TRUE(r.conversation.add_generation_prompt);
  EXPECT_EQ(r.common.sampling.n_logprobs, 3);
  EXPECT_EQ(r.common.sampling.max_tokens, 9);
  EXPECT_FALSE(r.common.add_special_tokens);
}

TEST(ChatRequest, ToolChoiceNoneKeepsTheToolsFromTheModel) {
  const auto r = chat(R"({"messages":[{"role":"user","content":"x"}],"tool_choice":"none",
                          "tools":[{"type":"function","function":{"name":"f"}}]})");
  EXPECT_TRUE(r.conversation.tools.is_null());
}

TEST(ChatRequest, ErrorsNameTheField) {
  const std::vector<std::pair<std::string, std::string>> members = {
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("tool_choice":{"type":"function","function":{"name":"f"}})", "tool_choice"},
      {R"("tools":5)", "tools"},
      {R"("tools":[{"type":"x"}])", "tools[0]"},
      {R"("tools":[{"type":"function","function":{}}])", "tools[0].function"},
      {R"("functions":[{"name":"f"}])", "functions"},
      {R"("response_format":{"type":"json_schema","json_schema":{}})", "response_format"},
      {R"("top_logprobs":2)", "top_logprobs"},
      {R"("logprobs":2)", "logprobs"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("continue_final_message":true,"add_generation_prompt":true)", "continue_final_message"},
      {R"("chat_template_kwargs":{"messages":[]})", "chat_template_kwargs"},
      {R"("chat_template":"x")", "chat_template"},
      {R"("echo":true)", "echo"},
      {R"("reasoning_effort":"high")", "reasoning_effort"},
      {R"("modalities":["audio"])", "modalities"},
      {R"("best_of":2)", "best_of"},
  };
  for (const auto& [member, param] : members) {
    const ApiError error = chat_error(member);
    EXPECT_EQ(error.status, 400) << member;
    EXPECT_EQ(error.param, param) << member << ": " << error.message;
  }
  const std::vector<std::pair<std::string, std::string>> messages = {
      {"", "messages"},
      {"5", "messages[0]"},
      {R"({"content":"x"})", "messages[0].role"},
      {R"({"role":"robot","content":"x"})", "messages[0].role"},
      {R"({"role":"user"})", "messages[0].content"},
      {R"({"role":"user","content":5})", "messages[0].content"},
      {R"({"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]})",
       "messages[0].content[0].type"},
      {R"({"role":"user","content":[{"type":"text"}]})", "messages[0].content[0].text"},
      {R"({"role":"user","content":[{"type":"text","text":1}]})", "messages[0].content[0].text"},
      {R"({"role":"user","content":"x","weight":0})", "messages[0].weight"},
      {R"({"role":"user","content":"x","tool_calls":[{"function":{"name":"f"}}]})", "messages[0].tool_calls"},
      {R"({"role":"assistant","tool_calls":[{}]})", "messages[0].tool_calls[0].function"},
      {R"({"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]})",
       "messages[0].tool_calls[0].function.arguments"},
      {R"({"role":"assistant","content":"x","function_call":{"name":"f"}})", "messages[0].function_call"},
  };
  for (const auto& [message, param] : messages) {
    const ApiError error = message_error(message);
    EXPECT_EQ(error.status, 400) << message;
    EXPECT_EQ(error.param, param) << message << ": " << error.message;
  }
}

TEST(RequestBody, WhatIsNoJson) {
  const auto code = [](const std::string& body) { return completion_error(body).code; };
  for (const char* body :
       {"", "{", "[]", "5", "\"x\"", "nul", R"({"prompt":"a"} x)", R"({"prompt":"\ud800"})",
        R"({"prompt":"a","temperature":1e999})", R"({"prompt":"a",})", "{'prompt':'a'}"}) {
    EXPECT_EQ(code(body), "invalid_json") << body;
  }
  EXPECT_EQ(code("{\"prompt\":\"\xFF\"}"), "invalid_json");
  EXPECT_EQ(code("{\"prompt\":\"\xED\xA0\x80\"}"), "invalid_json");
  // The message itself can be sent.
  EXPECT_NO_THROW(Json::parse(to_json(completion_error("{\"prompt\":\"\xFF\"}"))));
}

TEST(RequestBody, DepthAndMembersAreBounded) {
  const std::string deep = R"({"prompt":)" + std::string(100'000, '[');
  EXPECT_NE(completion_error(deep).message.find("nested"), std::string::npos);
  std::string wide = "{";
  for (int i = 0; i < 2000; ++i) wide += "\"" + std::to_string(i) + "\":0,";
  EXPECT_NE(completion_error(wide + "\"a\":0}").message.find("members"), std::string::npos);
  // Brackets within strings count for nothing, and lists may be long.
  std::string ids = "[0";
  for (int i = 0; i < 5000; ++i) ids += ",1";
  EXPECT_EQ(completion(R"({"user":"[[[[\"{{{,,,","prompt":)" + ids + "]}").prompts.size(), 1u);
}

TEST(TokenizeRequest, PromptOrMessages) {
  TokenizeRequest r;
  EXPECT_FALSE(parse_tokenize_request(R"({"prompt":"x","return_token_strs":true})", kRules, r));
  EXPECT_TRUE(r.add_special_tokens && r.return_token_strings);
  TokenizeRequest c;
  EXPECT_FALSE(parse_tokenize_request(R"({"messages":[{"role":"user","content":"x"}]})", kRules, c));
  EXPECT_FALSE(c.add_special_tokens);
  EXPECT_TRUE(std::holds_alternative<Conversation>(c.input));
  EXPECT_EQ(parse_tokenize_request("{}", kRules, r)->param, "prompt");
  DetokenizeRequest d;
  EXPECT_FALSE(parse_detokenize_request(R"({"tokens":[1,2]})", kRules, d));
  EXPECT_EQ(d.tokens, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(parse_detokenize_request(R"({"tokens":[1000]})", kRules, d)->param, "tokens[0]");
  EXPECT_EQ(parse_detokenize_request("{}", kRules, d)->param, "tokens");
}

}  // namespace
}  // namespace octet
