// write_own_text: all sequences grow side by side, a token each a step.
#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/progress.h"
#include "model/model.h"
#include "quantize/calibration_text.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace octet {
namespace {

// A generator of its own, whose numbers are the same everywhere.
uint64_t mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// What stands before a user's first message in the model's template; empty where that cannot be told.
Result<std::vector<int32_t>> conversation_begin(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  constexpr const char* kMessage = "USER-MESSAGE";
  if (checkpoint.tokenizer.chat_template.empty()) return std::vector<int32_t>();
  OCTET_ASSIGN_OR_RETURN(const auto parsed, ChatTemplate::parse(checkpoint.tokenizer.chat_template));
  const nlohmann::ordered_json context = {{"messages", {{{"role", "user"}, {"content", kMessage}}}},
                                          {"add_generation_prompt", false},
                                          {"bos_token", tokenizer.bos_token()},
                                          {"eos_token", tokenizer.eos_token()}};
  OCTET_ASSIGN_OR_RETURN(const std::string text, parsed.render(context));
  const size_t end = text.find(kMessage);
  if (end == std::string::npos) return std::vector<int32_t>();
  return tokenizer.encode(text.substr(0, end), {.add_special_tokens = false, .parse_special = true});
}

TokenSequences first_tokens(const Tokenizer& tokenizer, const std::vector<int32_t>& conversation,
                            const CalibrationTextOptions& options) {
  const std::vector<int32_t> bos = tokenizer.encode("");
  TokenSequences sequences;
  for (int32_t i = 0; i < options.samples; ++i) {
    std::vector<int32_t> begin = bos;
    if (i % 2 == 1 && !conversation.empty()) {
      begin = conversation;
    } else {
      uint64_t draw = mix(options.seed ^ static_cast<uint64_t>(i));
      int32_t id = static_cast<int32_t>(draw % static_cast<uint64_t>(tokenizer.size()));
      while (tokenizer.is_special(id)) {
        draw = mix(draw);
        id = static_cast<int32_t>(draw % static_cast<uint64_t>(tokenizer.size()));
      }
      begin.push_back(id);
    }
    begin.resize(std::min(begin.size(), static_cast<size_t>(options.sequence_length)));
    sequences.push_back(std::move(begin));
  }
  return sequences;
}

// What each sequence has beyond `known` tokens, in pages of its own; the sequences of which that is anything.
struct Step {
  ForwardBatch batch;
  SamplingBatch sampling;
  std::vector<size_t> sequences;
};

Step make_step(const TokenSequences& sequences, const std::vector<size_t>& known, int32_t page_size,
               int32_t pages_each, uint64_t seed) {
  Step step;
  ForwardBatch& batch = step.batch;
  batch.query_start.push_back(0);
  batch.page_table_stride = pages_each;
  for (size_t s = 0; s < sequences.size(); ++s) {
    if (known[s] == sequences[s].size()) continue;
    const auto first_page = static_cast<int32_t>(s) * pages_each;
    for (size_t t = known[s]; t < sequences[s].size(); ++t) {
      const auto position = static_cast<int32_t>(t);
      batch.token_ids.push_back(sequences[s][t]);
      batch.positions.push_back(position);
      batch.slots.push_back((first_page + position / page_size) * page_size + position % page_size);
    }
    batch.query_start.push_back(batch.n_tokens());
    batch.context_lens.push_back(static_cast<int32_t>(sequences[s].size()));
    for (int32_t page = 0; page < pages_each; ++page) batch.page_table.push_back(first_page + page);
    batch.logit_rows.push_back(batch.n_tokens() - 1);
    SamplingRow row;
    row.temperature = 1;
    row.seed = mix(seed + s);
    row.n_generated = sequences[s].size();
    step.sampling.rows.push_back(row);
    step.sequences.push_back(s);
  }
  return step;
}

}  // namespace

Result<TokenSequences> write_own_text(const std::shared_ptr<Checkpoint>& checkpoint, std::unique_ptr<Ops> ops,
                                      const CalibrationTextOptions& options) {
  OCTET_RETURN_IF_ERROR(check_calibration_options(*checkpoint, options));
  OCTET_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::create(checkpoint->tokenizer));
  OCTET_ASSIGN_OR_RETURN(const auto conversation, conversation_begin(*checkpoint, *tokenizer));
  TokenSequences sequences = first_tokens(*tokenizer, conversation, options);
  size_t first_step = 0;
  for (const auto& sequence : sequences) first_step += sequence.size();

  ModelOptions model_options;
  model_options.max_batch = options.samples;
  model_options.max_step_tokens = static_cast<int32_t>(std::max<size_t>(first_step, 1));
  model_options.max_context = options.sequence_length;
  OCTET_ASSIGN_OR_RETURN(const auto model, Model::load(checkpoint, std::move(ops), model_options));
  const int32_t page_size = model->cache().page_size;
  const int32_t pages_each = (options.sequence_length + page_size - 1) / page_size;
  if (int64_t{pages_each} * options.samples > model->cache().n_pages) {
    return resource_exhausted(
        "the model's own calibration text needs more memory than is free; give fewer --samples");
  }
  std::vector<size_t> known(sequences.size(), 0);
  std::vector<SampledToken> drawn(sequences.size());
  Progress progress("writing calibration text", "tokens", int64_t{options.samples} * options.sequence_length);
  const auto length = static_cast<size_t>(options.sequence_length);
  for (;;) {
    const Step step = make_step(sequences, known, page_size, pages_each, options.seed);
    if (step.sequences.empty()) break;
    const View logits = model->forward(step.batch);
    model->ops().sample(logits, step.sampling, drawn.data());
    OCTET_RETURN_IF_ERROR(model->ops().synchronize());
    for (size_t i = 0; i < step.sequences.size(); ++i) {
      const size_t s = step.sequences[i];
      if (drawn[i].token < 0) return corrupt(checkpoint->path + ": the model's logits are not finite");
      known[s] = sequences[s].size();
      if (sequences[s].size() < length) sequences[s].push_back(drawn[i].token);
    }
    progress.advance(static_cast<int64_t>(step.sequences.size()));
  }
  return sequences;
}

}  // namespace octet
