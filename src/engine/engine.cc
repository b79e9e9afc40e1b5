#include "engine/engine.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "engine/engine_loop.h"
#include "engine/model_executor.h"

namespace octet {
namespace {

Status check_option(const char* name, int64_t value, int64_t low, int64_t high, const char* bound) {
  if (value >= low && value <= high) return {};
  return invalid_argument(fmt::format("{} is {}; it must be in [{}, {}]: {}", name, value, low, high, bound));
}

}  // namespace

Result<RequestId> Engine::submit(Request request) {
  std::vector<Request> requests;
  requests.push_back(std::move(request));
  OCTET_ASSIGN_OR_RETURN(const auto ids, submit(std::move(requests)));
  return ids.front();
}

Result<std::unique_ptr<Engine>> Engine::create(Model& model, const EngineOptions& options) {
  return create(std::make_unique<ModelExecutor>(model), options);
}

Result<std::unique_ptr<Engine>> Engine::create(std::unique_ptr<Executor> executor,
                                               const EngineOptions& options) {
  const ExecutorLimits has = executor->limits();
  const int64_t cache_tokens = int64_t{has.n_pages} * has.page_size;
  const auto longest = static_cast<int32_t>(std::min<int64_t>(has.max_context, cache_tokens));
  OCTET_RETURN_IF_ERROR(check_option("max_batch", options.max_batch, 1, std::min(has.max_batch, has.max_rows),
                                     "the model was loaded for no larger batch"));
  OCTET_RETURN_IF_ERROR(
      check_option("max_step_tokens", options.max_step_tokens, options.max_batch, has.max_step_tokens,
                   "at least max_batch, and the model was loaded for no more tokens in a step"));
  OCTET_RETURN_IF_ERROR(
      check_option("max_waiting", options.max_waiting, 1, 1 << 30, "a queue needs a place"));
  if (options.max_context != 0) {
    OCTET_RETURN_IF_ERROR(check_option("max_context", options.max_context, 2, longest,
                                       has.max_context <= cache_tokens
                                           ? "the model was loaded for no longer context"
                                           : "the cache holds no more tokens; give it more memory"));
  }
  SchedulerLimits limits;
  limits.max_batch = options.max_batch;
  limits.max_step_tokens = options.max_step_tokens;
  limits.max_rows = has.max_rows;
  limits.max_context = options.max_context != 0 ? options.max_context : longest;
  limits.eos_ids = has.eos_ids;
  return std::unique_ptr<Engine>(
      std::make_unique<EngineLoop>(std::move(executor), options, std::move(limits)));
}

}  // namespace octet
