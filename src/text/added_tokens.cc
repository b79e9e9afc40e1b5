#include "text/added_tokens.h"

#include <algorithm>

#include "text/utf8.h"

namespace octet {

namespace {

// Where the white space at the end of text[from, end) begins.
size_t spaces_before(std::string_view text, size_t from, size_t end) {
  while (end > from) {
    const size_t begin = last_code_point_begin(text.substr(0, end));
    if (!is_white_space(first_code_point(text.substr(begin)).value)) break;
    end = begin;
  }
  return end;
}

size_t spaces_after(std::string_view text, size_t at) {
  while (at < text.size()) {
    const CodePoint c = first_code_point(text.substr(at));
    if (!is_white_space(c.value)) break;
    at += c.length;
  }
  return at;
}

bool touches_word(std::string_view text, Span span) {
  if (span.begin > 0) {
    const size_t before = last_code_point_begin(text.substr(0, span.begin));
    if (is_word(first_code_point(text.substr(before)).value)) return true;
  }
  return span.end < text.size() && is_word(first_code_point(text.substr(span.end)).value);
}

}  // namespace

void AddedTokens::Trie::add(std::string_view text, int32_t token) {
  if (text.empty()) return;
  begins[static_cast<uint8_t>(text.front())] = true;
  uint32_t node = 0;
  for (const char c : text) {
    uint32_t& next = edges[uint64_t{node} << 8 | static_cast<uint8_t>(c)];
    if (next == 0) {
      next = static_cast<uint32_t>(token_at.size());
      token_at.push_back(-1);
    }
    node = next;
  }
  if (token_at[node] < 0) token_at[node] = token;
}

int32_t AddedTokens::Trie::longest(std::string_view text, size_t* length) const {
  int32_t found = -1;
  uint32_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const uint32_t* next = edges.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[i]));
    if (next == nullptr) break;
    node = *next;
    if (token_at[node] >= 0) found = token_at[node], *length = i + 1;
  }
  return found;
}

void AddedTokens::add(AddedToken token, const Normalizer& normalizer) {
  const auto index = static_cast<int32_t>(tokens_.size());
  if (token.normalized) {
    normalized_.add(normalizer.apply(token.content), index);
  } else {
    raw_.add(token.content, index);
  }
  by_id_.emplace(token.id, tokens_.size());
  by_content_.emplace(token.content, token.id);
  end_id_ = std::max(end_id_, token.id + 1);
  tokens_.push_back(std::move(token));
}

std::vector<AddedTokens::Segment> AddedTokens::split(std::string_view text, bool normalized,
                                                     bool parse_special) const {
  const Trie& trie = normalized ? normalized_ : raw_;
  std::vector<Segment> segments;
  size_t done = 0;  // text before it is in segments
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    const int32_t index =
        trie.begins[static_cast<uint8_t>(text[at])] ? trie.longest(text.substr(at), &length) : -1;
    if (index < 0) {
      ++at;
      continue;
    }
    Span span{at, at + length};
    at = span.end;
    const AddedToken& token = tokens_[index];
    if ((token.special && !parse_special) || (token.single_word && touches_word(text, span))) continue;
    if (token.lstrip) span.begin = spaces_before(text, std::min(done, span.begin), span.begin);
    if (token.rstrip) span.end = spaces_after(text, span.end);
    if (done < span.begin) segments.push_back({-1, {done, span.begin}});
    segments.push_back({token.id, span});
    done = span.end;
  }
  if (done < text.size()) segments.push_back({-1, {done, text.size()}});
  return segments;
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

int32_t AddedTokens::find(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? -1 : found->second;
}

}  // namespace octet
