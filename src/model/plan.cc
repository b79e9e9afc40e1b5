// The memory plan: what serving will take, known from shapes alone.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "model/model.h"
#include "model/model_sizes.h"

namespace octet {
namespace {

// Without a size from the user, the cache takes at most this share of the memory that weights and scratch
// leave: nearly all of a device's own, and of a host's, which others need too, half, but no more than
// kMaxDefaultKv, nor than a full batch of ordinary chats wants where no context was asked for: all of it is
// touched at start.
constexpr double kDeviceKvShare = 0.96, kHostKvShare = 0.5;
constexpr int64_t kMaxDefaultKv = int64_t{4} << 30;
constexpr int64_t kDefaultTokens = 1024;  // of each of these chats; room for one whole context in any case

std::string mebibytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}

int64_t pages_for(int64_t tokens, int32_t page_size) {
  return (tokens + page_size - 1) / page_size;
}

}  // namespace

std::optional<int64_t> room_for_cache(const BackendInfo& info, int64_t fixed) {
  if (info.memory_available <= 0) return std::nullopt;
  const double share = info.own_memory ? kDeviceKvShare : kHostKvShare;
  return std::max<int64_t>(static_cast<int64_t>(share * static_cast<double>(info.memory_available - fixed)),
                           0);
}

Result<ModelSizes> model_sizes(const Checkpoint& checkpoint, const Ops& ops, const ModelOptions& options) {
  const ModelConfig& config = checkpoint.config;
  ModelSizes sizes;
  OCTET_ASSIGN_OR_RETURN(sizes.schemes,
                         assign_schemes(checkpoint, {.scheme = options.scheme,
                                                     .exclude = options.exclude,
                                                     .overrides = options.overrides,
                                                     .quantize_head = options.quantize_head,
                                                     .random = checkpoint.format == "random"}));
  const QType kv_default = plain_type(checkpoint, sizes.schemes);
  if (options.kv_dtype == "auto" && checkpoint.has_kv_quant) {
    sizes.kv = checkpoint.kv_quant;
  } else {
    OCTET_ASSIGN_OR_RETURN(sizes.kv, kv_quant_by_name(options.kv_dtype, kv_default));
    // Scales that come with the checkpoint serve whoever asks for their type.
    if (checkpoint.has_kv_quant && checkpoint.kv_quant.type == sizes.kv.type) sizes.kv = checkpoint.kv_quant;
  }
  if (sizes.kv.type == QType::kF32 && ops.info().name != "reference") {
    return unsupported("--kv-dtype f32 is for the reference backend alone; expected bf16, fp16, int8 or fp8");
  }
  if (options.max_batch < 1) return invalid_argument("--max-batch must be at least 1");
  const int32_t longest = options.longest_default_step > 0 ? options.longest_default_step : INT32_MAX;
  const int32_t step_tokens = options.max_step_tokens > 0
                                  ? options.max_step_tokens
                                  : std::max(std::min(ops.info().step_tokens, longest), options.max_batch);
  if (step_tokens < options.max_batch) {
    return invalid_argument("--max-step-tokens (" + std::to_string(step_tokens) +
                            ") must be at least --max-batch (" + std::to_string(options.max_batch) + ")");
  }
  if (options.max_context > config.max_context) {
    return invalid_argument("--max-context " + std::to_string(options.max_context) +
                            ": the model was made for " + std::to_string(config.max_context) +
                            " tokens at most");
  }
  sizes.max_context = options.max_context > 0 ? options.max_context : config.max_context;
  sizes.page_size = options.page_size > 0 ? options.page_size : ops.info().page_size;

  AttentionSpec& a = sizes.attention;
  a.n_heads = config.n_heads;
  a.n_kv_heads = config.n_kv_heads;
  a.head_dim = config.head_dim;
  a.softmax_scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  a.window = config.sliding_window;
  OCTET_RETURN_IF_ERROR(ops.check_attention(a, sizes.kv, sizes.page_size));

  ActivationSizes& s = sizes.activations;
  s.tokens = step_tokens;
  s.logits = std::max(options.max_batch, kMinLogitRows);
  s.hidden = config.hidden_size;
  s.intermediate = config.intermediate_size;
  s.q = int64_t{config.n_heads} * config.head_dim;
  s.kv = int64_t{config.n_kv_heads} * config.head_dim;
  s.vocab = config.vocab_size;
  s.type = ops.info().activation;

  OpsLimits& limits = sizes.limits;
  limits.max_tokens = step_tokens;
  limits.max_seqs = options.max_batch;
  limits.max_context = sizes.max_context;
  limits.max_logits = static_cast<int32_t>(s.logits);
  limits.vocab_size = config.vocab_size;
  limits.max_cols = std::max({s.hidden, s.q + 2 * s.kv, 2 * s.intermediate});
  limits.attention = a;

  MemoryPlan& plan = sizes.plan;
  plan.page_size = sizes.page_size;
  plan.weights = weight_bytes(checkpoint, sizes.schemes) + int64_t{4} * sizes.max_context * config.head_dim;
  plan.activations = s.bytes();
  plan.scratch = static_cast<int64_t>(ops.scratch_bytes(limits));
  const auto page_bytes =
      static_cast<int64_t>(KvCache::page_bytes(ops, a, sizes.kv, sizes.page_size, config.n_layers));
  plan.kv_bytes_per_token = page_bytes / sizes.page_size;

  const int64_t available = ops.info().memory_available;
  const int64_t fixed = plan.weights + plan.activations + plan.scratch;
  const int64_t one_sequence = pages_for(sizes.max_context, sizes.page_size);
  int64_t pages = one_sequence * options.max_batch;
  if (options.kv_bytes > 0) {
    pages = std::min(pages, options.kv_bytes / page_bytes);
  } else {
    plan.max_context = sizes.max_context;
    if (available > 0 && fixed > available) return check_memory(plan, available);
    const bool own = ops.info().own_memory;
    int64_t bytes = available;
    if (!own) {
      const int64_t usual =
          std::max(pages_for(kDefaultTokens, sizes.page_size) * options.max_batch, one_sequence);
      bytes = std::min(kMaxDefaultKv, (options.max_context > 0 ? pages : usual) * page_bytes);
    }
    bytes = std::min(bytes, room_for_cache(ops.info(), fixed).value_or(bytes));
    pages = std::min(pages, bytes / page_bytes);
  }
  if (options.max_context == 0 && pages > 0 && pages < one_sequence) {  // the context follows what fits
    sizes.max_context = static_cast<int32_t>(pages * sizes.page_size);
    limits.max_context = sizes.max_context;
  } else if (pages < one_sequence) {
    return invalid_argument("the KV cache has room for " + std::to_string(pages * sizes.page_size) +
                            " tokens, fewer than one sequence of --max-context " +
                            std::to_string(sizes.max_context) + "; give a larger --kv-memory (" +
                            mebibytes(one_sequence * page_bytes) + " at least) or a smaller --max-context");
  }
  plan.kv_pages = static_cast<int32_t>(pages);
  plan.kv_tokens = pages * sizes.page_size;
  plan.kv_cache = pages * page_bytes;
  plan.max_context = sizes.max_context;
  return sizes;
}

Status check_memory(const MemoryPlan& plan, int64_t available) {
  if (available <= 0 || plan.total() <= available) return {};
  const int64_t fixed = plan.total() - plan.kv_cache, left = available - fixed;
  const std::string needs = "weights " + mebibytes(plan.weights) + ", activations " +
                            mebibytes(plan.activations) + ", scratch " + mebibytes(plan.scratch);
  if (left < plan.kv_bytes_per_token * plan.page_size) {
    return resource_exhausted("the model needs " + mebibytes(fixed) + " before its KV cache but " +
                              mebibytes(available) + " are free, " + mebibytes(fixed - available) +
                              " are missing: " + needs +
                              "; try an 8-bit --scheme, or a smaller --max-step-tokens or --max-batch");
  }
  const int64_t tokens = left / plan.kv_bytes_per_token, whole = tokens / std::max(plan.max_context, 1);
  const std::string fits = whole > 0
                               ? std::to_string(whole) + " sequences of " + std::to_string(plan.max_context)
                               : "one sequence of --max-context " + std::to_string(tokens);
  return resource_exhausted("serving needs " + mebibytes(plan.total()) + " but " + mebibytes(available) +
                            " are free, " + mebibytes(plan.total() - available) + " are missing: " + needs +
                            ", KV cache " + mebibytes(plan.kv_cache) + "; what is left holds a cache of " +
                            std::to_string(tokens) + " tokens (" + fits + "): give --kv-memory " +
                            std::to_string(left >> 20) +
                            "MiB, or try an 8-bit --scheme or --kv-dtype int8 or fp8");
}

std::string MemoryPlan::to_text() const {
  return "weights " + mebibytes(weights) + ", KV cache " + mebibytes(kv_cache) + " (" +
         std::to_string(kv_tokens) + " tokens, " + std::to_string(kv_pages) + " pages of " +
         std::to_string(page_size) + "), activations " + mebibytes(activations) + ", scratch " +
         mebibytes(scratch) + ", total " + mebibytes(total());
}

}  // namespace octet
