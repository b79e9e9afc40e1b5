// What most commands share: the options that say which model runs how, and loading it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>

#include "engine/engine.h"
#include "formats/checkpoint.h"
#include "model/model.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace octet {

// What `octet serve` sets ModelOptions.longest_default_step to, and `octet advise`, which predicts it. Twice
// as long a step gives no more tokens a second behind HTTP, and lets 32 open requests of 2,048 tokens wait
// half as long again for their first one: docs/serving.md.
inline constexpr int32_t kLongestServedStep = 4096;

struct ModelArgs {
  std::string model;           // path of a checkpoint
  std::string random_weights;  // or the name of a shape
  std::string backend = "auto", isa = "auto";
  int32_t device = 0;
  bool batch_invariant = false;
  std::string kernel_plans = "auto";
  int32_t threads = 0;
  std::string kv_memory;  // "2GiB"
  bool no_prefix_cache = false;
  uint64_t seed = 0;
  ModelOptions options;
  int32_t max_waiting = 1024;
};

// MODEL, --random-weights, and every option that changes what is loaded and how it runs. A sweep goes over
// schemes, caches and batch sizes itself.
enum class ModelOptionSet { kAll, kWithoutVariant };
void add_model_options(CLI::App& command, ModelArgs& args, ModelOptionSet set = ModelOptionSet::kAll);

// Of an option that must not be given as 0, for that is how it says "none given".
CLI::Validator at_least_one();

// "512MiB", "2GiB", "1.5G", plain bytes. kInvalidArgument names the option.
Result<int64_t> parse_size(const std::string& option, const std::string& text);
// Whether there are such schemes ("stored" is one) and caches: told before anything is measured.
Status check_variants(const std::vector<std::string>& schemes, const std::vector<std::string>& kv_dtypes);

struct Session {
  std::shared_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Tokenizer> tokenizer;  // null where the checkpoint has none
  std::optional<ChatTemplate> chat_template;
  std::unique_ptr<Model> model;
  std::unique_ptr<Engine> engine;  // last: it stops first

  std::string name() const { return checkpoint->config.name; }
};

Result<std::shared_ptr<Checkpoint>> open_checkpoint(const ModelArgs& args);
Result<std::unique_ptr<Ops>> make_ops(const ModelArgs& args);
// Loads the model, prints the memory plan; with `text` also tokenizer and template.
Result<Session> open_session(const ModelArgs& args, bool text);
Status start_engine(Session& session, const ModelArgs& args);

// Prints "octet: error: ..." and gives the exit code.
int fail(const Status& status);

// The sampling defaults a checkpoint's generation_config.json gives.
SamplingParams default_sampling(const Checkpoint& checkpoint);

}  // namespace octet
