#include "text/detokenizer.h"

#include <algorithm>
#include <utility>

#include "text/utf8.h"

namespace octet {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, DetokenizerOptions options)
    : tokenizer_(tokenizer),
      skip_special_tokens_(options.skip_special_tokens),
      include_stop_(options.include_stop) {
  for (const std::string& text : options.stop) {
    if (text.empty()) continue;
    Stop stop{to_valid_utf8(text), {0, 0}};
    for (size_t i = 1; i < stop.text.size(); ++i) {
      size_t k = stop.fallback[i];
      while (k > 0 && stop.text[i] != stop.text[k]) k = stop.fallback[k];
      stop.fallback.push_back(stop.text[i] == stop.text[k] ? k + 1 : 0);
    }
    stops_.push_back(std::move(stop));
  }
}

std::string Detokenizer::push(TokenId id) {
  if (stopped_ || (skip_special_tokens_ && tokenizer_.is_special(id))) return {};
  bytes_ += tokenizer_.token_bytes(id);
  if (bytes_.empty()) return {};
  if (std::exchange(first_, false) && tokenizer_.strips_leading_space() && bytes_.front() == ' ')
    bytes_.erase(0, 1);
  std::string characters;
  bytes_.erase(0, append_utf8_lossy(bytes_, /*last=*/false, &characters));
  return pass(characters);
}

std::string Detokenizer::finish() {
  if (stopped_) return {};
  std::string characters;
  append_utf8_lossy(std::exchange(bytes_, {}), /*last=*/true, &characters);
  std::string text = pass(characters);
  return stopped_ ? text : text + std::exchange(held_, {});
}

std::string Detokenizer::pass(std::string_view characters) {
  const size_t held = held_.size();
  held_ += characters;
  for (size_t i = held; i < held_.size(); ++i) {
    const Stop* found = nullptr;
    for (Stop& stop : stops_) {
      while (stop.matched > 0 && stop.text[stop.matched] != held_[i])
        stop.matched = stop.fallback[stop.matched];
      if (stop.text[stop.matched] == held_[i]) ++stop.matched;
      // Of several that end here the longest, for it began first.
      const bool complete = stop.matched == stop.text.size();
      if (complete && (found == nullptr || stop.text.size() > found->text.size())) found = &stop;
    }
    if (found == nullptr) continue;
    stopped_ = true;
    stop_string_ = found->text;
    bytes_.clear();
    return std::exchange(held_, {}).substr(0, i + 1 - (include_stop_ ? 0 : found->text.size()));
  }
  size_t keep = 0;
  for (const Stop& stop : stops_) keep = std::max(keep, stop.matched);
  std::string text = held_.substr(0, held_.size() - keep);
  held_.erase(0, text.size());
  return text;
}

}  // namespace octet
