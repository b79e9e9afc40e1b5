// One prompt through the engine, with its text streamed: what `generate` and `chat` share.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/session.h"

namespace octet {

struct TextRun {
  std::string text;
  std::string finish_reason;  // "stop", "length", "cancelled"
  int64_t prompt_tokens = 0, cached_tokens = 0, output_tokens = 0;
  double ttft_ms = 0, seconds = 0;
};

struct TextRunOptions {
  SamplingParams sampling;
  std::vector<std::string> stop;
  bool skip_special_tokens = true;
};

// Calls `on_text` from this thread with each piece that became certain. Ctrl-C ends the answer (not the
// program) when `interrupt` says so. Errors: those of Engine::submit, and of the engine itself.
Result<TextRun> run_text(Session& session, std::vector<int32_t> prompt, const TextRunOptions& options,
                         const std::function<void(const std::string&)>& on_text,
                         const std::function<bool()>& interrupted);

// The sampling options of generate and chat; what is not given is as the checkpoint says.
struct SamplingArgs {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int32_t> top_k;
  int32_t max_tokens = 512;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};
void add_sampling_options(CLI::App& command, SamplingArgs& args);
TextRunOptions text_run_options(const SamplingArgs& args, const Checkpoint& checkpoint, uint64_t seed);

}  // namespace octet
