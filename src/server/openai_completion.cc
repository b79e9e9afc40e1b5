#include <fmt/format.h>

#include "server/openai_request.h"

namespace octet {
namespace {

constexpr size_t kMaxPrompts = 2048;
constexpr int64_t kMaxSequences = 4096;  // prompts x best_of

// A list of token ids; `name` is what messages call it.
bool read_ids(RequestFields& fields, const Json& list, const std::string& name, int32_t vocab_size,
              std::vector<int32_t>& ids) {
  ids.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const auto id = as_integer(list[i], 0, vocab_size - 1);
    if (!id) {
      fields.fail(fmt::format("{}[{}]", name, i), fmt::format("must be a token id in [0, {})", vocab_size));
      return false;
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  if (ids.empty()) fields.fail(name, "must hold at least one token");
  return true;
}

// A string, a list of strings, a list of token ids, or a list of lists of token ids.
void read_prompts(RequestFields& fields, int32_t vocab_size, std::vector<Prompt>& prompts) {
  const Json* value = fields.find("prompt");
  if (value == nullptr) return fields.fail("prompt", "is missing");
  if (value->is_string()) {
    prompts.emplace_back(value->get<std::string>());
    return;
  }
  const char* const kExpected =
      "must be a string, a list of strings, a list of token ids or a list of such lists";
  if (!value->is_array())
    return fields.fail("prompt", fmt::format("{}, found {}", kExpected, json_type_name(*value)));
  if (value->empty()) return fields.fail("prompt", "is an empty list");
  if ((*value)[0].is_number()) {
    std::vector<int32_t> ids;
    if (read_ids(fields, *value, "prompt", vocab_size, ids)) prompts.emplace_back(std::move(ids));
    return;
  }
  if (value->size() > kMaxPrompts) {
    return fields.fail("prompt", fmt::format("holds {} prompts, more than the {} that are possible",
                                             value->size(), kMaxPrompts));
  }
  for (size_t i = 0; i < value->size(); ++i) {
    const Json& entry = (*value)[i];
    const std::string name = fmt::format("prompt[{}]", i);
    if (entry.type() != (*value)[0].type())
      return fields.fail(name, "is of another type than the first entry");
    if (entry.is_string()) {
      prompts.emplace_back(entry.get<std::string>());
    } else if (entry.is_array()) {
      std::vector<int32_t> ids;
      if (!read_ids(fields, entry, name, vocab_size, ids)) return;
      prompts.emplace_back(std::move(ids));
    } else {
      return fields.fail(
          name, fmt::format("must be a string or a list of token ids, found {}", json_type_name(entry)));
    }
  }
}

void check_best_of(RequestFields& fields, const CompletionRequest& request) {
  const GenerationFields& common = request.common;
  if (request.best_of < common.n) {
    fields.fail("best_of", fmt::format("({}) is less than 'n' ({})", request.best_of, common.n));
  }
  if (common.stream && request.best_of > common.n) {
    fields.fail("best_of", "greater than 'n' is not possible with 'stream': true");
  }
  const auto sequences = static_cast<int64_t>(request.prompts.size()) * request.best_of;
  if (sequences > kMaxSequences) {
    fields.fail(
        "n", fmt::format("times the number of prompts makes {} sequences, more than the {} that are possible",
                         sequences, kMaxSequences));
  }
}

}  // namespace

std::optional<ApiError> parse_completion_request(std::string_view body, const RequestRules& rules,
                                                 CompletionRequest& out) {
  Json json;
  if (auto error = parse_json_object(body, json)) return error;
  RequestFields fields(json);
  GenerationFields& common = out.common;
  read_model(fields, rules);
  read_prompts(fields, rules.vocab_size, out.prompts);
  read_generation_fields(fields, rules, common);
  out.echo = fields.boolean("echo", false);
  out.best_of = static_cast<int32_t>(fields.integer("best_of", common.n, 1, kMaxChoices));
  check_best_of(fields, out);
  common.add_special_tokens = fields.boolean("add_special_tokens", true);
  common.sampling.n_logprobs = static_cast<int32_t>(fields.integer("logprobs", -1, 0, kMaxLogprobs));
  fields.refuse_unless("suffix", "", "is not supported by this server");
  // Nothing to generate makes sense only where the prompt's own log probabilities or text are wanted.
  if (common.has_max_tokens && common.sampling.max_tokens == 0 && !out.echo &&
      common.sampling.prompt_logprobs < 0) {
    fields.fail("max_tokens", "must be at least 1 without 'echo'");
  }
  fields.refuse_unknown();
  return fields.error();
}

}  // namespace octet
