#include "engine/request.h"

#include <cmath>
#include <functional>

#include <gtest/gtest.h>

namespace octet {
namespace {

constexpr int32_t kVocab = 100;

TEST(SamplingParams, DefaultsAreValid) {
  EXPECT_TRUE(SamplingParams{}.validate(kVocab).ok());
}

TEST(SamplingParams, TheEndsOfEachRangeAreValid) {
  SamplingParams s;
  s.temperature = 0;
  s.top_k = -1;
  s.min_p = 1;
  s.repetition_penalty = 2;
  s.presence_penalty = -2;
  s.frequency_penalty = 2;
  s.logit_bias = {{0, -100}, {99, 100}};
  s.max_tokens = s.min_tokens = 1;
  s.stop_token_ids = {0, 99};
  s.n_logprobs = 0;
  s.prompt_logprobs = kMaxLogprobs;
  EXPECT_TRUE(s.validate(kVocab).ok()) << s.validate(kVocab).message();
}

TEST(SamplingParams, EachFieldOutOfRangeIsNamed) {
  struct Case {
    const char* field;
    std::function<void(SamplingParams&)> spoil;
  };
  const Case cases[] = {
      {"temperature", [](auto& s) { s.temperature = -0.1f; }},
      {"temperature", [](auto& s) { s.temperature = NAN; }},
      {"temperature", [](auto& s) { s.temperature = INFINITY; }},
      {"top_p", [](auto& s) { s.top_p = 0; }},
      {"top_p", [](auto& s) { s.top_p = 1.01f; }},
      {"top_p", [](auto& s) { s.top_p = NAN; }},
      {"top_k", [](auto& s) { s.top_k = -2; }},
      {"min_p", [](auto& s) { s.min_p = -0.1f; }},
      {"min_p", [](auto& s) { s.min_p = NAN; }},
      {"repetition_penalty", [](auto& s) { s.repetition_penalty = 0; }},
      {"repetition_penalty", [](auto& s) { s.repetition_penalty = 2.1f; }},
      {"presence_penalty", [](auto& s) { s.presence_penalty = -2.1f; }},
      {"frequency_penalty", [](auto& s) { s.frequency_penalty = NAN; }},
      {"logit_bias",
       [](auto& s) {
         s.logit_bias = {{kVocab, 0}};
       }},
      {"logit_bias",
       [](auto& s) {
         s.logit_bias = {{-1, 0}};
       }},
      {"logit_bias",
       [](auto& s) {
         s.logit_bias = {{1, 101}};
       }},
      {"max_tokens", [](auto& s) { s.max_tokens = 0; }},
      {"min_tokens", [](auto& s) { s.min_tokens = -1; }},
      {"min_tokens", [](auto& s) { s.min_tokens = s.max_tokens + 1; }},
      {"stop_token_ids",
       [](auto& s) {
         s.stop_token_ids = {3, kVocab};
       }},
      {"logprobs", [](auto& s) { s.n_logprobs = kMaxLogprobs + 1; }},
      {"prompt_logprobs", [](auto& s) { s.prompt_logprobs = -2; }},
  };
  for (const Case& c : cases) {
    SamplingParams s;
    c.spoil(s);
    const Status status = s.validate(kVocab);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << c.field;
    EXPECT_EQ(status.message().rfind(c.field, 0), 0u) << status.message();
  }
}

}  // namespace
}  // namespace octet
