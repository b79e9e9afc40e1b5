#include "eval/scorer.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "eval/forced_sampling.h"

namespace octet {
namespace {

// The longest beginning of whole pages that all texts share, each leaving a token of its own.
std::vector<int32_t> shared_beginning(const std::vector<ScoreRequest>& requests, int32_t page_size) {
  if (requests.size() < 2) return {};
  const auto& first = requests[0].tokens;
  size_t n = first.size();
  for (const ScoreRequest& request : requests) {
    const size_t end = std::min({n, request.tokens.size(), static_cast<size_t>(request.targets[0].position)});
    n = static_cast<size_t>(
        std::mismatch(first.begin(), first.begin() + static_cast<ptrdiff_t>(end), request.tokens.begin())
            .first -
        first.begin());
  }
  n -= n % static_cast<size_t>(page_size);
  return {first.begin(), first.begin() + static_cast<ptrdiff_t>(n)};
}

}  // namespace

Scorer::Scorer(Model& model)
    : model_(model),
      limits_(step_limits(model)),
      pages_(model.memory().kv_pages, model.cache().page_size, true),
      sampled_(static_cast<size_t>(limits_.max_rows)) {}

Result<std::vector<std::vector<float>>> Scorer::score(const std::vector<ScoreRequest>& requests) {
  for (const ScoreRequest& request : requests) {
    OCTET_CHECK(!request.targets.empty());
    const auto n = static_cast<int32_t>(request.tokens.size());
    if (n > model_.max_context() || pages_.pages_for(n) > pages_.n_pages()) {
      return invalid_argument(fmt::format(
          "a question has {} tokens; the context holds {}, the cache {}: give a larger --max-context "
          "or --kv-memory",
          n, model_.max_context(), pages_.n_pages() * pages_.page_size()));
    }
  }
  std::vector<std::vector<float>> out(requests.size()), none(1);
  const std::vector<ScoreRequest> beginning = {{shared_beginning(requests, pages_.page_size()), {}}};
  if (!beginning[0].tokens.empty()) OCTET_RETURN_IF_ERROR(run(beginning, true, none));
  OCTET_RETURN_IF_ERROR(run(requests, false, out));
  return out;
}

Status Scorer::run(const std::vector<ScoreRequest>& requests, bool keep,
                   std::vector<std::vector<float>>& out) {
  size_t next = 0;
  while (next < requests.size() || !running_.empty()) {
    batch_.clear();
    sampling_.rows.clear();
    sampling_.biases.clear();
    row_owner_.clear();
    batch_.query_start.push_back(0);
    size_t n_planned = 0;
    for (; n_planned < running_.size(); ++n_planned) {
      if (add_to_step(running_[n_planned]) == 0) break;
    }
    while (n_planned == running_.size() && next < requests.size() && batch_.n_seqs() < model_.max_batch() &&
           admit(requests[next], out[next], keep)) {
      ++next;
      if (add_to_step(running_.back()) > 0) ++n_planned;
    }
    OCTET_CHECK(batch_.n_tokens() > 0);
    OCTET_RETURN_IF_ERROR(step());
    std::erase_if(running_, [&](Running& r) {
      if (r.n_computed < std::ssize(r.request->tokens)) return false;
      if (r.keep) pages_.publish(r.request->tokens, r.n_computed, r.table);
      pages_.free(r.table);
      return true;
    });
  }
  return {};
}

bool Scorer::admit(const ScoreRequest& request, std::vector<float>& out, bool keep) {
  // Tokens before the first target may come from the cache.
  const int32_t may_be_cached =
      request.targets.empty() ? static_cast<int32_t>(request.tokens.size()) : request.targets[0].position;
  if (!pages_.can_allocate(request.tokens, may_be_cached, 0)) return false;
  Running running{&request, &out, {}, 0, keep};
  running.n_computed = pages_.allocate(request.tokens, may_be_cached, running.table);
  spared_ += running.n_computed;
  running_.push_back(std::move(running));
  return true;
}

// As many of the sequence's next tokens as the step has room for, with the rows of logits that they bring.
int32_t Scorer::add_to_step(Running& r) {
  const ScoreRequest& request = *r.request;
  const int32_t page_size = pages_.page_size(), first = batch_.n_tokens();
  while (r.n_computed < std::ssize(request.tokens) && batch_.n_tokens() < limits_.max_tokens) {
    const int32_t position = r.n_computed;
    const auto [begin, end] =
        std::equal_range(request.targets.begin(), request.targets.end(), ScoreRequest::Target{position, 0},
                         [](const auto& a, const auto& b) { return a.position < b.position; });
    OCTET_CHECK(end - begin <= limits_.max_rows);
    if (batch_.n_logits() + (end - begin) > limits_.max_rows) break;
    for (auto target = begin; target != end; ++target) {
      batch_.logit_rows.push_back(batch_.n_tokens());
      add_forced_row(sampling_, target->token);
      row_owner_.push_back(r.out);
    }
    batch_.token_ids.push_back(request.tokens[static_cast<size_t>(position)]);
    batch_.positions.push_back(position);
    batch_.slots.push_back(r.table.pages[static_cast<size_t>(position / page_size)] * page_size +
                           position % page_size);
    ++r.n_computed;
  }
  const int32_t added = batch_.n_tokens() - first;
  if (added == 0) return 0;
  batch_.query_start.push_back(batch_.n_tokens());
  batch_.context_lens.push_back(r.n_computed);
  return added;
}

Status Scorer::step() {
  size_t stride = 0;
  const auto n_seqs = static_cast<size_t>(batch_.n_seqs());
  for (size_t i = 0; i < n_seqs; ++i) stride = std::max(stride, running_[i].table.pages.size());
  batch_.page_table_stride = static_cast<int32_t>(stride);
  for (size_t i = 0; i < n_seqs; ++i) {
    const auto& pages = running_[i].table.pages;
    batch_.page_table.insert(batch_.page_table.end(), pages.begin(), pages.end());
    batch_.page_table.resize((i + 1) * stride, 0);  // a valid page that nobody reads
  }
  computed_ += batch_.n_tokens();
  const View logits = model_.forward(batch_);
  if (batch_.n_logits() > 0) model_.ops().sample(logits, sampling_, sampled_.data());
  OCTET_RETURN_IF_ERROR(model_.ops().synchronize());
  for (size_t i = 0; i < row_owner_.size(); ++i) {
    OCTET_RETURN_IF_ERROR(check_forced(sampled_[i]));
    row_owner_[i]->push_back(sampled_[i].logprob);
  }
  return {};
}

}  // namespace octet
