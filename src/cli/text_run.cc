#include "cli/text_run.h"

#include <condition_variable>
#include <deque>
#include <mutex>

#include "engine/text_output.h"

namespace octet {
namespace {

// The engine's thread puts events in, this thread takes them out.
class EventQueue {
 public:
  void push(const OutputEvent& event) {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
    filled_.notify_one();
  }
  // False where none came within the time.
  bool pop(OutputEvent& event, std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    if (!filled_.wait_for(lock, timeout, [&] { return !events_.empty(); })) return false;
    event = std::move(events_.front());
    events_.pop_front();
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<OutputEvent> events_;
};

const char* reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    default:
      return "cancelled";
  }
}

}  // namespace

Result<TextRun> run_text(Session& session, std::vector<int32_t> prompt, const TextRunOptions& options,
                         const std::function<void(const std::string&)>& on_text,
                         const std::function<bool()>& interrupted) {
  TextRun result;
  result.prompt_tokens = static_cast<int64_t>(prompt.size());
  TextOutput output(*session.tokenizer, {options.skip_special_tokens, options.stop, false});
  const auto queue = std::make_shared<EventQueue>();
  Request request;
  request.prompt = std::move(prompt);
  request.sampling = options.sampling;
  request.on_event = [queue](const OutputEvent& event) { queue->push(event); };
  const auto start = Clock::now();
  OCTET_ASSIGN_OR_RETURN(const RequestId id, session.engine->submit(std::move(request)));

  FinishReason finish = FinishReason::kNone;
  OutputEvent event;
  while (finish == FinishReason::kNone) {
    if (interrupted && interrupted()) session.engine->cancel(id);
    if (!queue->pop(event, std::chrono::milliseconds(50))) continue;
    if (result.output_tokens == 0 && !event.tokens.empty()) {
      result.ttft_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
      result.cached_tokens = event.cached_prompt_tokens;
    }
    const TextDelta delta = output.push(event);
    result.output_tokens = output.n_tokens();
    result.text += delta.text;
    if (!delta.text.empty()) on_text(delta.text);
    if (delta.cancel) session.engine->cancel(id);
    finish = delta.finish;
    if (finish == FinishReason::kError) return internal_error(delta.error);
  }
  result.finish_reason = reason_name(finish);
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return result;
}

void add_sampling_options(CLI::App& command, SamplingArgs& args) {
  command.add_option("--temperature", args.temperature, "0: greedy (default: as the checkpoint says)");
  command.add_option("--top-p", args.top_p, "draw from the likeliest tokens that make up this share");
  command.add_option("--top-k", args.top_k, "draw from this many tokens; 0: all");
  command.add_option("--min-p", args.min_p, "only tokens at least this likely beside the likeliest");
  command.add_option("--repetition-penalty", args.repetition_penalty, "above 1: repeats less");
  command.add_option("-n,--max-tokens", args.max_tokens, "of output")->capture_default_str();
  command.add_option("--stop", args.stop, "text that ends the answer; may be given several times")
      ->allow_extra_args(false);
  command.add_flag("--ignore-eos", args.ignore_eos, "go on after the end of the text");
}

TextRunOptions text_run_options(const SamplingArgs& args, const Checkpoint& checkpoint, uint64_t seed) {
  TextRunOptions options;
  SamplingParams& s = options.sampling;
  s = default_sampling(checkpoint);
  s.temperature = args.temperature.value_or(s.temperature);
  s.top_p = args.top_p.value_or(s.top_p);
  s.top_k = args.top_k.value_or(s.top_k);
  s.min_p = args.min_p.value_or(s.min_p);
  s.repetition_penalty = args.repetition_penalty.value_or(s.repetition_penalty);
  s.max_tokens = args.max_tokens;
  s.ignore_eos = args.ignore_eos;
  s.has_seed = seed != 0;
  s.seed = seed;
  options.stop = args.stop;
  return options;
}

}  // namespace octet
