#include "cli/session.h"

#include <charconv>
#include <cmath>
#include <cstdio>

#include "backend/cpu/cpu_ops.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/reference/reference_ops.h"
#include "base/log.h"

namespace octet {

void add_model_options(CLI::App& command, ModelArgs& args, ModelOptionSet set) {
  auto* model = command.add_option("MODEL", args.model, "checkpoint: a Hugging Face folder or a .gguf file");
  auto* random = command.add_option(
      "--random-weights", args.random_weights,
      "random weights of a trained model's spread, for speed alone (static schemes too): a folder with a "
      "config.json, or a built-in name such as llama-3.1-8b");
  model->excludes(random);
  ModelOptions& o = args.options;
  const std::string quantizing = set == ModelOptionSet::kAll ? "with --scheme: " : "with --schemes: ";
  if (set == ModelOptionSet::kAll) {
    command.add_option(
        "--scheme", o.scheme,
        "quantize while loading: bf16, fp16, int8-minmax, fp8, llm-int8[:6], w8a16, w8a16-fp8, "
        "w4a16[:128] (default: as stored)");
    command.add_option("--kv-dtype", o.kv_dtype, "KV cache: auto, bf16, fp16, int8, fp8")
        ->capture_default_str();
    command.add_option("--max-batch", o.max_batch, "sequences in a step")->capture_default_str();
  }
  command.add_option("--exclude", o.exclude, quantizing + "regular expression over layers that stay 16 bit");
  command
      .add_option("--override", o.overrides,
                  quantizing + "REGEX=SCHEME, layers in another scheme; the last that matches wins")
      ->allow_extra_args(false);
  command.add_flag("--quantize-head", o.quantize_head, quantizing + "the output head too");
  command.add_option("--kv-memory", args.kv_memory,
                     "memory for the KV cache, such as 2GiB (default: --max-batch times --max-context, or "
                     "times 1024 tokens without it, 4GiB at most)");
  command
      .add_option("--max-step-tokens", o.max_step_tokens,
                  "tokens in a step, prompts in chunks of these (default: 8192 on a GPU, 4096 where it "
                  "serves, 2048 on a CPU)")
      ->check(at_least_one());
  command.add_option("--max-context", o.max_context, "tokens of one sequence (default: the model's own)");
  command.add_option("--page-size", o.page_size, "tokens in a page of the KV cache (default: the backend's)");
  command
      .add_option(
          "--backend", args.backend,
          "auto (cuda where a GPU can be used, else cpu), cpu, cuda, or reference (slow, the specification)")
      ->capture_default_str();
  command.add_option("--device", args.device, "GPU of the cuda backend, as `octet devices` numbers them")
      ->capture_default_str();
  command.add_flag(
      "--batch-invariant", args.batch_invariant,
      "cuda: a prompt's logits do not depend on what else runs (the cpu backend always keeps this)");
  command
      .add_option(
          "--kernel-plans", args.kernel_plans,
          "cuda: auto times the kernels of linear layers at the first start and keeps what it found in "
          "~/.cache/octet; a file to keep it in; off: the built-in plans")
      ->capture_default_str();
  command.add_option("--threads", args.threads, "threads of the cpu backend (default: all cores)");
  command.add_option("--isa", args.isa, "instruction set: auto, generic, avx2, avx512")
      ->capture_default_str();
  command.add_flag("--no-prefix-cache", args.no_prefix_cache,
                   "do not share the cache of common prompt beginnings");
  command.add_option("--seed", args.seed, "of sampling, where a request brings none");
}

CLI::Validator at_least_one() {
  const auto check = [](std::string& text) -> std::string {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool fits = error == std::errc() && end == text.data() + text.size() && value >= 1;
    return fits ? "" : "'" + text + "': expected an integer from 1 on";
  };
  return {check, ""};
}

Result<int64_t> parse_size(const std::string& option, const std::string& text) {
  size_t end = 0;
  double value = 0;
  try {
    value = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  static constexpr std::pair<const char*, double> kUnits[] = {
      {"", 1},         {"B", 1},       {"K", 0x1p10},   {"KB", 0x1p10}, {"KiB", 0x1p10},
      {"M", 0x1p20},   {"MB", 0x1p20}, {"MiB", 0x1p20}, {"G", 0x1p30},  {"GB", 0x1p30},
      {"GiB", 0x1p30}, {"T", 0x1p40},  {"TiB", 0x1p40}};
  for (const auto& [unit, factor] : kUnits) {
    if (end > 0 && text.substr(end) == unit && value > 0 && value * factor < 0x1p60) {
      return static_cast<int64_t>(value * factor);
    }
  }
  return invalid_argument(option + " '" + text + "': expected a size such as 512MiB or 2GiB");
}

Status check_variants(const std::vector<std::string>& schemes, const std::vector<std::string>& kv_dtypes) {
  for (const auto& scheme : schemes) {
    if (scheme != "stored") OCTET_RETURN_IF_ERROR(scheme_by_name(scheme).status().with_context("--schemes"));
  }
  for (const auto& kv : kv_dtypes) {
    OCTET_RETURN_IF_ERROR(kv_quant_by_name(kv, QType::kBF16).status().with_context("--kv-dtypes"));
  }
  return {};
}

Result<std::shared_ptr<Checkpoint>> open_checkpoint(const ModelArgs& args) {
  if (!args.random_weights.empty()) return Checkpoint::random(args.random_weights);
  if (args.model.empty()) return invalid_argument("no model: give a path, or --random-weights NAME");
  return Checkpoint::open(args.model);
}

namespace {

Result<std::unique_ptr<Ops>> make_gpu_ops(const ModelArgs& args) {
  CudaOptions options;
  options.device = args.device;
  options.batch_invariant = args.batch_invariant;
  options.kernel_plans = args.kernel_plans;
  return make_cuda_ops(options);
}

// No library or no GPU is nothing to speak of; a GPU that cannot be used is.
Result<std::unique_ptr<Ops>> make_best_ops(const ModelArgs& args) {
  auto ops = make_gpu_ops(args);
  if (ops.ok()) return ops;
  if (ops.status().code() == StatusCode::kNotFound) {
    log_debug(ops.status().message());
  } else {
    log_warning(ops.status().message() + "; running on the CPU");
  }
  return make_cpu_ops({args.threads, args.isa});
}

}  // namespace

Result<std::unique_ptr<Ops>> make_ops(const ModelArgs& args) {
  if (args.backend == "auto") return make_best_ops(args);
  if (args.backend == "reference") return make_reference_ops();
  if (args.backend == "cpu") return make_cpu_ops({args.threads, args.isa});
  if (args.backend == "cuda") return make_gpu_ops(args);
  return invalid_argument("unknown backend '" + args.backend + "'; there are auto, cpu, cuda, reference");
}

Result<Session> open_session(const ModelArgs& args, bool text) {
  Session session;
  ModelOptions options = args.options;
  if (!args.kv_memory.empty()) {
    OCTET_ASSIGN_OR_RETURN(options.kv_bytes, parse_size("--kv-memory", args.kv_memory));
  }
  OCTET_ASSIGN_OR_RETURN(session.checkpoint, open_checkpoint(args));
  if (text && session.checkpoint->tokenizer.empty()) {
    return invalid_argument(session.checkpoint->path + ": the checkpoint has no tokenizer (tokenizer.json)");
  }
  if (!session.checkpoint->tokenizer.empty()) {
    OCTET_ASSIGN_OR_RETURN(session.tokenizer, Tokenizer::create(session.checkpoint->tokenizer));
  }
  if (const auto& source = session.checkpoint->tokenizer.chat_template; text && !source.empty()) {
    auto parsed = ChatTemplate::parse(source);
    if (!parsed.ok()) return parsed.status().with_context(session.checkpoint->path);
    session.chat_template = std::move(parsed).value();
  }
  OCTET_ASSIGN_OR_RETURN(auto ops, make_ops(args));
  log_info("device: " + ops->info().device);
  OCTET_ASSIGN_OR_RETURN(const MemoryPlan plan, Model::plan(*session.checkpoint, *ops, options));
  log_info("memory: " + plan.to_text());
  OCTET_ASSIGN_OR_RETURN(session.model, Model::load(session.checkpoint, std::move(ops), options));
  log_info("model: " + session.name() + ", " + session.model->scheme_name() + ", KV cache " +
           session.model->kv_name() + ", context " + std::to_string(session.model->max_context()));
  if (const int32_t own = session.model->config().max_context;
      options.max_context == 0 && session.model->max_context() < own) {
    log_warning("the KV cache is smaller than the model's context of " + std::to_string(own) +
                " tokens; --kv-memory or --kv-dtype int8 makes room for longer ones");
  }
  return session;
}

Status start_engine(Session& session, const ModelArgs& args) {
  EngineOptions options;
  options.max_batch = session.model->max_batch();
  options.max_step_tokens = session.model->max_step_tokens();
  options.max_context = session.model->max_context();
  options.max_waiting = args.max_waiting;
  options.prefix_cache = !args.no_prefix_cache;
  options.seed = args.seed;
  OCTET_ASSIGN_OR_RETURN(session.engine, Engine::create(*session.model, options));
  return {};
}

int fail(const Status& status) {
  std::fprintf(stderr, "octet: error: %s\n", status.message().c_str());
  return status.code() == StatusCode::kInvalidArgument || status.code() == StatusCode::kUnsupported ? 2 : 1;
}

SamplingParams default_sampling(const Checkpoint& checkpoint) {
  SamplingParams params;
  params.temperature = checkpoint.generation.temperature;
  params.top_p = checkpoint.generation.top_p;
  params.top_k = checkpoint.generation.top_k;
  params.min_p = checkpoint.generation.min_p;
  params.repetition_penalty = checkpoint.generation.repetition_penalty;
  return params;
}

}  // namespace octet
