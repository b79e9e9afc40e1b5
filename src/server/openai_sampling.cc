#include <charconv>

#include <fmt/format.h>

#include "server/openai_request.h"

namespace octet {
namespace {

constexpr int64_t kMaxTokens = INT32_MAX;
constexpr size_t kMaxStopStrings = 16, kMaxStopBytes = 1024;

void read_stop(RequestFields& fields, std::vector<std::string>& stop) {
  const Json* value = fields.find("stop");
  if (value == nullptr) return;
  const Json list = value->is_array() ? *value : Json::array({*value});
  if (list.size() > kMaxStopStrings) {
    fields.fail("stop", fmt::format("holds {} strings, more than the {} that are possible", list.size(),
                                    kMaxStopStrings));
    return;
  }
  for (const Json& entry : list) {
    if (!entry.is_string()) {
      fields.fail("stop",
                  fmt::format("must be a string or a list of strings, found {}", json_type_name(entry)));
      return;
    }
    stop.push_back(entry.get<std::string>());
    if (stop.back().size() > kMaxStopBytes) {
      fields.fail("stop", fmt::format("holds a string of {} bytes, more than the {} that are possible",
                                      stop.back().size(), kMaxStopBytes));
    }
  }
}

void read_logit_bias(RequestFields& fields, int32_t vocab_size, SamplingParams& sampling) {
  const Json* value = fields.find("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object()) {
    fields.fail("logit_bias",
                fmt::format("must be an object of token ids, found {}", json_type_name(*value)));
    return;
  }
  for (const auto& [key, bias] : value->items()) {
    int32_t token = -1;
    const auto [end, ec] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (ec != std::errc() || end != key.data() + key.size() || token < 0 || token >= vocab_size) {
      fields.fail("logit_bias", fmt::format("has a key that is no token id in [0, {})", vocab_size));
      return;
    }
    const double b = bias.is_number() ? bias.get<double>() : 1e9;
    if (!(b >= -100 && b <= 100)) {
      fields.fail("logit_bias", fmt::format("of token {} must be a number between -100 and 100", token));
      return;
    }
    sampling.logit_bias.emplace_back(token, static_cast<float>(b));
  }
}

void read_max_tokens(RequestFields& fields, GenerationFields& out) {
  // max_completion_tokens is the newer name; where both are given they must agree.
  const int64_t older = fields.integer("max_tokens", -1, 0, kMaxTokens);
  const int64_t newer = fields.integer("max_completion_tokens", -1, 0, kMaxTokens);
  if (older >= 0 && newer >= 0 && older != newer) {
    fields.fail("max_tokens", "contradicts 'max_completion_tokens'; give one of them");
  }
  if (older < 0 && newer < 0) return;
  out.has_max_tokens = true;
  out.sampling.max_tokens = static_cast<int32_t>(newer >= 0 ? newer : older);
}

void read_stream(RequestFields& fields, GenerationFields& out) {
  out.stream = fields.boolean("stream", false);
  const Json* value = fields.find("stream_options");
  if (value == nullptr) return;
  if (!value->is_object()) {
    fields.fail("stream_options", fmt::format("must be an object, found {}", json_type_name(*value)));
    return;
  }
  if (!out.stream) fields.fail("stream_options", "is only possible with 'stream': true");
  RequestFields options(*value, "stream_options");
  out.stream_options.include_usage = options.boolean("include_usage", false);
  out.stream_options.continuous_usage = options.boolean("continuous_usage_stats", false);
  options.ignore({"include_obfuscation"});
  options.refuse_unknown();
  if (options.error()) fields.fail(*options.error());
}

void read_response_format(RequestFields& fields) {
  const Json* value = fields.find("response_format");
  if (value == nullptr) return;
  if (!value->is_object() || !value->contains("type") || !(*value)["type"].is_string()) {
    fields.fail("response_format", "must be an object with a 'type'");
    return;
  }
  const auto type = (*value)["type"].get<std::string>();
  if (type == "text") return;
  if (type == "json_object" || type == "json_schema") {
    fields.fail("response_format", "of type '" + type + "' is not supported by this server; only 'text' is");
  } else {
    fields.fail("response_format", "must have the type 'text'");
  }
}

}  // namespace

void read_model(RequestFields& fields, const RequestRules& rules) {
  const std::string model = fields.string("model", rules.model_name);
  if (model == rules.model_name) return;
  ApiError error = api_error(404,
                             fmt::format("the model '{}' does not exist here; this server has '{}'",
                                         model.size() > 200 ? "..." : model, rules.model_name),
                             "model_not_found");
  error.param = "model";
  fields.fail(std::move(error));
}

void read_generation_fields(RequestFields& fields, const RequestRules& rules, GenerationFields& out) {
  SamplingParams& s = out.sampling;
  const GenerationDefaults& d = rules.defaults;
  const auto real = [&](const char* name, double absent, double low, double high) {
    return static_cast<float>(fields.number(name, absent, low, high));
  };
  const auto count = [&](const char* name, int64_t absent, int64_t low, int64_t high) {
    return static_cast<int32_t>(fields.integer(name, absent, low, high));
  };
  s.temperature = real("temperature", d.temperature, 0, 2);
  s.top_p = real("top_p", d.top_p, 0, 1);
  if (s.top_p == 0) fields.fail("top_p", "must be greater than 0");
  s.top_k = count("top_k", d.top_k, -1, INT32_MAX);
  s.min_p = real("min_p", d.min_p, 0, 1);
  s.repetition_penalty = real("repetition_penalty", d.repetition_penalty, 0, 2);
  if (s.repetition_penalty == 0) fields.fail("repetition_penalty", "must be greater than 0");
  s.presence_penalty = real("presence_penalty", 0, -2, 2);
  s.frequency_penalty = real("frequency_penalty", 0, -2, 2);
  read_logit_bias(fields, rules.vocab_size, s);
  s.has_seed = fields.has("seed");
  s.seed = static_cast<uint64_t>(fields.integer("seed", 0, INT64_MIN, INT64_MAX));
  read_max_tokens(fields, out);
  s.min_tokens = count("min_tokens", 0, 0, kMaxTokens);
  if (out.has_max_tokens && s.min_tokens > s.max_tokens) {
    fields.fail("min_tokens", fmt::format("({}) is more than 'max_tokens' ({})", s.min_tokens, s.max_tokens));
  }
  s.stop_token_ids = fields.integers("stop_token_ids", 0, rules.vocab_size - 1);
  s.ignore_eos = fields.boolean("ignore_eos", false);
  s.prompt_logprobs = count("prompt_logprobs", -1, 0, kMaxLogprobs);

  out.n = count("n", 1, 1, kMaxChoices);
  out.priority = count("priority", 0, INT32_MIN, INT32_MAX);
  read_stream(fields, out);
  if (out.stream && s.prompt_logprobs >= 0)
    fields.fail("prompt_logprobs", "is not possible with 'stream': true");
  read_stop(fields, out.stop);
  out.include_stop = fields.boolean("include_stop_str_in_output", false);
  out.skip_special_tokens = fields.boolean("skip_special_tokens", true);
  out.return_token_ids = fields.boolean("return_token_ids", false);
  read_response_format(fields);

  fields.refuse_unless("use_beam_search", false, "is not supported by this server");
  fields.refuse_unless("spaces_between_special_tokens", true, "can only be true");
  fields.refuse_unless("logits_processors", Json::array(), "is not supported by this server");
  for (const char* name :
       {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"}) {
    fields.refuse_unless(name, nullptr, "is not supported by this server: outputs are free text");
  }
  fields.ignore({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
                 "prompt_cache_retention", "request_id", "length_penalty", "early_stopping"});
}

}  // namespace octet
