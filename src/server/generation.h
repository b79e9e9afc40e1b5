// One generating request from submission to the last byte of its answer: events of the engine in, text out,
// streamed or whole. Lives on the I/O thread; the engine's thread only touches the mailbox.
//
// A reader that is slower than the model: up to kHighWater bytes are formatted ahead, what comes after stays
// as bare text (a few bytes a token) and is sent as one larger chunk when there is room; beyond
// max_unsent_bytes the client is dropped.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/text_output.h"
#include "server/event_mailbox.h"
#include "server/exchange.h"
#include "server/openai_response.h"
#include "server/prepare.h"
#include "server/request_stats.h"

namespace octet {

// What all generations of a server share.
struct GenerationContext {
  const ServedModel& model;
  std::shared_ptr<EventMailbox> mailbox;
  RequestStats& stats;
  size_t max_unsent_bytes;
};

class Generation final : public ResponseOwner, public std::enable_shared_from_this<Generation> {
 public:
  static constexpr size_t kHighWater = 64 << 10;

  // Submits to the engine; where that refuses, `exchange` gets the error.
  static void start(const GenerationContext& context, ResponseHead head, PreparedGeneration prepared,
                    std::shared_ptr<Exchange> exchange);

  void on_event(int32_t prompt, const OutputEvent& event);
  void flush();

  void on_writable() override;
  void on_client_gone() override;

 private:
  struct Choice;
  struct PromptState {
    RequestId id = 0;
    bool submitted = false, seen = false;
    std::vector<OutputToken> logprobs;  // of its tokens but the first, where asked for
  };

  Generation(const GenerationContext& context, ResponseHead head, PreparedGeneration prepared,
             std::shared_ptr<Exchange> exchange);
  std::optional<ApiError> submit();
  void fail(const ApiError& error);
  void cancel_all();
  void first_event_of(int32_t prompt, const OutputEvent& event);
  void take_tokens(Choice& choice, const OutputEvent& event);
  void keep(Choice& choice, const std::string& text, std::span<const OutputToken> tokens);
  void echo_prompt(Choice& choice, const PromptState& prompt);
  bool congested() const { return exchange_->unsent_bytes() > kHighWater; }
  void write_choice(Choice& choice);
  void hold();
  std::string take_logprobs(Choice& choice);
  void end_if_complete();
  void answer_whole();
  std::vector<Choice*> best_choices(int32_t prompt);
  void done();

  GenerationContext context_;
  ResponseHead head_;
  PreparedGeneration request_;
  std::shared_ptr<Exchange> exchange_;  // nullptr: done
  ChunkWriter writer_;
  std::vector<PromptState> prompts_;
  std::vector<Choice> choices_;  // prompt-major, best_of each
  size_t n_unfinished_ = 0;
  size_t held_bytes_ = 0;   // of all choices
  bool streaming_ = false;  // the head is out: errors go into the stream
  Usage usage_;
  std::string scratch_;  // chunks on their way to the exchange
};

}  // namespace octet
