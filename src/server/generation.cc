#include "server/generation.h"

#include <algorithm>
#include <cmath>

#include "server/http_text.h"
#include "server/json_text.h"

namespace octet {

// ---- a choice ----

struct Generation::Choice {
  Choice(const Tokenizer& tokenizer, const DetokenizerOptions& options) : output(tokenizer, options) {}

  int32_t prompt = 0, index = 0;  // `index` is its own among the prompt's best_of
  TextOutput output;
  // Not sent yet. A whole answer sends nothing before its end.
  std::string text;
  std::vector<OutputToken> tokens;       // kept only where logprobs are shown
  std::vector<int32_t> ids;              // ... or ids
  bool started = false, closed = false;  // closed: its finish was sent
  std::string finish_reason, stop_reason_json = "null";
  double logprob_sum = 0;
  int64_t text_offset = 0;  // characters, for legacy logprobs
  size_t held_bytes = 0;    // of text, tokens and ids, about

  bool has_news() const { return !text.empty() || !tokens.empty() || !ids.empty() || output.finished(); }
};

Generation::Generation(const GenerationContext& context, ResponseHead head, PreparedGeneration prepared,
                       std::shared_ptr<Exchange> exchange)
    : context_(context),
      head_(std::move(head)),
      request_(std::move(prepared)),
      exchange_(std::move(exchange)),
      writer_(head_, request_.common.stream_options.include_usage) {
  const GenerationFields& common = request_.common;
  const DetokenizerOptions options{common.skip_special_tokens, common.stop, common.include_stop};
  prompts_.resize(request_.prompts.size());
  choices_.reserve(prompts_.size() * request_.best_of);
  for (size_t p = 0; p < prompts_.size(); ++p) {
    usage_.prompt_tokens += static_cast<int64_t>(request_.prompts[p].ids.size());
    for (int32_t i = 0; i < request_.best_of; ++i) {
      Choice& choice = choices_.emplace_back(context_.model.tokenizer, options);
      choice.prompt = static_cast<int32_t>(p);
      choice.index = i;
    }
  }
  n_unfinished_ = choices_.size();
}

// ---- from submission to the end ----

void Generation::start(const GenerationContext& context, ResponseHead head, PreparedGeneration prepared,
                       std::shared_ptr<Exchange> exchange) {
  const std::shared_ptr<Generation> self(
      new Generation(context, std::move(head), std::move(prepared), std::move(exchange)));
  ++self->context_.stats.open_generations;
  self->exchange_->watch(self);
  if (self->exchange_ == nullptr) return;  // the client was gone already
  if (auto error = self->submit()) return self->fail(*error);
  if (!self->request_.common.stream) return;
  HttpResponse stream;
  stream.content_type = "text/event-stream; charset=utf-8";
  stream.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  self->streaming_ = true;
  self->exchange_->begin_stream(std::move(stream));
  self->exchange_->flush();
}

std::optional<ApiError> Generation::submit() {
  std::vector<Request> requests;
  for (size_t p = 0; p < prompts_.size(); ++p) {
    Request& request = requests.emplace_back();
    request.prompt = request_.prompts[p].ids;
    request.sampling = request_.common.sampling;
    request.n = request_.best_of;
    request.priority = request_.common.priority;
    request.on_event = [self = shared_from_this(), mailbox = context_.mailbox,
                        prompt = static_cast<int32_t>(p)](const OutputEvent& event) {
      mailbox->push(self, prompt, event);
    };
  }
  const auto ids = context_.model.engine.submit(std::move(requests));
  if (!ids.ok()) return to_api_error(ids.status());
  for (size_t p = 0; p < prompts_.size(); ++p) {
    prompts_[p].id = (*ids)[p];
    prompts_[p].submitted = true;
  }
  return std::nullopt;
}

void Generation::cancel_all() {
  for (PromptState& prompt : prompts_) {
    if (prompt.submitted) context_.model.engine.cancel(prompt.id);
    prompt.submitted = false;
  }
}

void Generation::fail(const ApiError& error) {
  cancel_all();
  if (streaming_) {
    scratch_.clear();
    ChunkWriter::append_error(scratch_, to_json(error));
    ChunkWriter::append_done(scratch_);
    exchange_->write(scratch_);
    exchange_->end_stream();
  } else {
    exchange_->respond(error_response(error));
  }
  done();
}

void Generation::done() {
  if (exchange_ == nullptr) return;
  exchange_.reset();
  --context_.stats.open_generations;
}

void Generation::on_client_gone() {
  cancel_all();
  done();
}

// ---- events ----

void Generation::on_event(int32_t prompt, const OutputEvent& event) {
  if (exchange_ == nullptr) return;
  Choice& choice = choices_[static_cast<size_t>(prompt) * request_.best_of + event.choice];
  if (choice.output.finished()) return;  // what the engine made before it heard of the stop string
  if (event.finish == FinishReason::kError) return fail(api_error(500, event.error));
  if (event.finish == FinishReason::kCancelled) return fail(api_error(503, "the server is shutting down"));
  first_event_of(prompt, event);
  if (!choice.started) {
    choice.started = true;
    if (request_.echo) echo_prompt(choice, prompts_[prompt]);
    if (request_.common.stream && request_.kind == ApiKind::kChat) {
      scratch_.clear();
      writer_.append_role(scratch_, choice.index,
                          request_.common.stream_options.continuous_usage ? &usage_ : nullptr);
      exchange_->write(scratch_);
    }
  }
  take_tokens(choice, event);
  if (!request_.common.stream) {
    if (n_unfinished_ == 0) answer_whole();
    return;
  }
  if (congested()) return hold();
  write_choice(choice);
  end_if_complete();
}

void Generation::first_event_of(int32_t prompt, const OutputEvent& event) {
  PromptState& state = prompts_[prompt];
  if (!event.prompt_logprobs.empty() && state.logprobs.empty()) state.logprobs = event.prompt_logprobs;
  if (state.seen) return;
  state.seen = true;
  usage_.cached_tokens += event.cached_prompt_tokens;
}

void Generation::take_tokens(Choice& choice, const OutputEvent& event) {
  const int32_t before = choice.output.n_tokens();
  TextDelta delta = choice.output.push(event);
  if (!request_.discard_output) {
    const int32_t n_new = choice.output.n_tokens() - before;
    usage_.completion_tokens += n_new;
    keep(choice, delta.text, std::span(event.tokens).first(std::min<size_t>(n_new, event.tokens.size())));
  }
  if (delta.finish == FinishReason::kNone) return;
  if (delta.cancel) context_.model.engine.cancel_choice(prompts_[choice.prompt].id, event.choice);
  choice.finish_reason = delta.finish == FinishReason::kLength ? "length" : "stop";
  const auto& eos = context_.model.eos_ids;
  if (!delta.stop_string.empty()) {
    choice.stop_reason_json.clear();
    append_json_string(choice.stop_reason_json, delta.stop_string);
  } else if (delta.stop_token >= 0 && std::find(eos.begin(), eos.end(), delta.stop_token) == eos.end()) {
    choice.stop_reason_json = std::to_string(delta.stop_token);
  }
  --n_unfinished_;
  context_.stats.prompt_tokens.observe(static_cast<double>(request_.prompts[choice.prompt].ids.size()));
  context_.stats.output_tokens.observe(choice.output.n_tokens());
}

void Generation::keep(Choice& choice, const std::string& text, std::span<const OutputToken> tokens) {
  size_t bytes = text.size();
  choice.text += text;
  for (const OutputToken& token : tokens) {
    choice.logprob_sum += token.logprob;
    if (request_.with_logprobs) {
      choice.tokens.push_back(token);
      bytes += sizeof(OutputToken) + token.top.size() * sizeof(TokenLogprob);
    }
    if (request_.common.return_token_ids) {
      choice.ids.push_back(token.token);
      bytes += sizeof(int32_t);
    }
  }
  choice.held_bytes += bytes;
  held_bytes_ += bytes;
}

void Generation::echo_prompt(Choice& choice, const PromptState& prompt) {
  const PreparedPrompt& source = request_.prompts[choice.prompt];
  choice.text = source.text;
  if (!request_.with_logprobs) return;
  OutputToken first;
  first.token = source.ids[0];
  first.logprob = std::nanf("");
  choice.tokens.push_back(first);
  for (OutputToken token : prompt.logprobs) {
    if (token.top.size() > static_cast<size_t>(request_.n_top)) token.top.resize(request_.n_top);
    choice.tokens.push_back(std::move(token));
  }
}

// ---- streaming ----

std::string Generation::take_logprobs(Choice& choice) {
  std::string out;
  if (!request_.with_logprobs || choice.tokens.empty()) return "null";
  if (request_.kind == ApiKind::kChat) {
    append_chat_logprobs(out, context_.model.tokenizer, choice.tokens);
  } else {
    append_legacy_logprobs(out, context_.model.tokenizer, choice.tokens, request_.n_top > 0,
                           request_.common.skip_special_tokens, choice.text_offset);
  }
  choice.tokens.clear();
  return out;
}

void Generation::write_choice(Choice& choice) {
  if (choice.closed || !choice.has_news()) return;
  const std::string logprobs = take_logprobs(choice);
  ChoiceDelta delta;
  delta.index = choice.prompt * request_.common.n + choice.index;
  delta.text = choice.text;
  delta.logprobs_json = logprobs;
  delta.token_ids = choice.ids;
  delta.with_token_ids = request_.common.return_token_ids;
  if (choice.output.finished()) {
    delta.finish_reason = choice.finish_reason;
    delta.stop_reason_json = choice.stop_reason_json;
    choice.closed = true;
  }
  if (request_.common.stream_options.continuous_usage) delta.usage = &usage_;
  scratch_.clear();
  writer_.append_delta(scratch_, delta);
  exchange_->write(scratch_);
  choice.text.clear();
  choice.ids.clear();
  held_bytes_ -= choice.held_bytes;
  choice.held_bytes = 0;
}

// What came stays where it is; unless that is too much by now.
void Generation::hold() {
  if (held_bytes_ + exchange_->unsent_bytes() <= context_.max_unsent_bytes) return;
  ++context_.stats.dropped_clients;
  exchange_->drop("it reads its stream too slowly");
}

void Generation::on_writable() {
  if (exchange_ == nullptr || !request_.common.stream || congested()) return;
  for (Choice& choice : choices_) write_choice(choice);
  end_if_complete();
  flush();
}

void Generation::flush() {
  if (exchange_ != nullptr && request_.common.stream) exchange_->flush();
}

void Generation::end_if_complete() {
  const auto closed = [](const Choice& choice) { return choice.closed; };
  if (n_unfinished_ > 0 || !std::all_of(choices_.begin(), choices_.end(), closed)) return;
  scratch_.clear();
  if (request_.common.stream_options.include_usage) writer_.append_usage(scratch_, usage_);
  ChunkWriter::append_done(scratch_);
  exchange_->write(scratch_);
  exchange_->end_stream();
  done();
}

// ---- whole answers ----

// The n of a prompt's choices with the highest log probability a token; all of them in their order where n is
// all.
std::vector<Generation::Choice*> Generation::best_choices(int32_t prompt) {
  std::vector<Choice*> all;
  for (int32_t i = 0; i < request_.best_of; ++i) {
    all.push_back(&choices_[static_cast<size_t>(prompt) * request_.best_of + i]);
  }
  const auto n = static_cast<size_t>(request_.common.n);
  if (all.size() == n) return all;
  const auto score = [](const Choice* c) { return c->logprob_sum / std::max(c->output.n_tokens(), 1); };
  std::stable_sort(all.begin(), all.end(), [&](Choice* a, Choice* b) { return score(a) > score(b); });
  all.resize(n);
  return all;
}

void Generation::answer_whole() {
  std::vector<ChoiceAnswer> answers;
  for (size_t p = 0; p < prompts_.size(); ++p) {
    std::string prompt_logprobs;
    if (request_.with_prompt_logprobs) {
      append_prompt_logprobs(prompt_logprobs, context_.model.tokenizer, prompts_[p].logprobs);
    }
    for (Choice* choice : best_choices(static_cast<int32_t>(p))) {
      ChoiceAnswer& answer = answers.emplace_back();
      answer.index = static_cast<int32_t>(answers.size()) - 1;
      answer.logprobs_json = take_logprobs(*choice);
      answer.text = std::move(choice->text);
      answer.finish_reason = choice->finish_reason;
      answer.stop_reason_json = choice->stop_reason_json;
      answer.prompt_logprobs_json = prompt_logprobs;
      answer.token_ids = choice->ids;
      answer.prompt_token_ids = request_.prompts[p].ids;
      answer.with_token_ids = request_.common.return_token_ids;
    }
  }
  exchange_->respond(json_response(completion_json(head_, answers, usage_)));
  done();
}

}  // namespace octet
