#include "text/pre_tokenizer.h"

#include <algorithm>
#include <utility>

#include "text/byte_alphabet.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace octet {

namespace {

struct Part {
  Span span;
  bool is_match;
};

// Matches and what lies between them, in order, covering `size` bytes.
void cover(const std::vector<Span>& matches, size_t size, bool invert, std::vector<Part>* parts) {
  size_t at = 0;
  for (const Span& match : matches) {
    if (at != match.begin) parts->push_back({{at, match.begin}, invert});
    parts->push_back({match, !invert});
    at = match.end;
  }
  if (at != size) parts->push_back({{at, size}, invert});
}

// Joins each part with the one before it where `joins(part, match_before)`.
template <typename Iterator, typename Joins>
void merge(Iterator begin, Iterator end, const Joins& joins, std::vector<Span>* out) {
  const size_t first = out->size();
  bool before = false;
  for (; begin != end; ++begin) {
    if (out->size() > first && joins(begin->is_match, before)) {
      out->back() = {std::min(out->back().begin, begin->span.begin),
                     std::max(out->back().end, begin->span.end)};
    } else {
      out->push_back(begin->span);
    }
    before = begin->is_match;
  }
}

void arrange(const std::vector<Part>& parts, SplitBehavior behavior, std::vector<Span>* out) {
  const auto match_after_text = [](bool is_match, bool before) { return is_match && !before; };
  const size_t first = out->size();
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Part& part : parts) out->push_back(part.span);
      return;
    case SplitBehavior::kRemoved:
      for (const Part& part : parts) {
        if (!part.is_match) out->push_back(part.span);
      }
      return;
    case SplitBehavior::kContiguous:
      return merge(
          parts.begin(), parts.end(), [](bool is_match, bool before) { return is_match == before; }, out);
    case SplitBehavior::kMergedWithPrevious:
      return merge(parts.begin(), parts.end(), match_after_text, out);
    case SplitBehavior::kMergedWithNext:
      merge(parts.rbegin(), parts.rend(), match_after_text, out);
      std::reverse(out->begin() + static_cast<std::ptrdiff_t>(first), out->end());
      return;
  }
}

// Splits every piece by the matches that `find(piece, &matches)` appends.
template <typename Find>
void split(Pieces* pieces, SplitBehavior behavior, bool invert, const Find& find) {
  std::vector<Span> out, matches, arranged;
  std::vector<Part> parts;
  out.reserve(pieces->spans.size());
  for (const Span& piece : pieces->spans) {
    matches.clear(), parts.clear(), arranged.clear();
    find(piece.of(pieces->text), &matches);
    cover(matches, piece.size(), invert, &parts);
    arrange(parts, behavior, &arranged);
    for (const Span& span : arranged) {
      if (span.size() > 0) out.push_back({piece.begin + span.begin, piece.begin + span.end});
    }
  }
  pieces->spans = std::move(out);
}

// Rewrites every piece: `rewrite(piece, is_first, &text)` appends what it becomes.
template <typename Rewrite>
void rewrite_all(Pieces* pieces, const Rewrite& rewrite) {
  std::string text;
  text.reserve(pieces->text.size());
  for (size_t i = 0; i < pieces->spans.size(); ++i) {
    const size_t begin = text.size();
    rewrite(pieces->spans[i].of(pieces->text), i == 0 && pieces->spans[0].begin == 0, &text);
    pieces->spans[i] = {begin, text.size()};
  }
  pieces->text = std::move(text);
}

void find_literal(std::string_view text, std::string_view literal, std::vector<Span>* matches) {
  if (literal.empty()) return;
  for (size_t at = 0; (at = text.find(literal, at)) != std::string_view::npos; at += literal.size()) {
    matches->push_back({at, at + literal.size()});
  }
}

struct Apply {
  Pieces* pieces;

  void operator()(const SplitStep& step) const {
    split(pieces, step.behavior, step.invert, [&](std::string_view piece, std::vector<Span>* matches) {
      if (const auto* regex = std::get_if<Regex>(&step.pattern)) return regex->find_all(piece, matches);
      find_literal(piece, std::get<std::string>(step.pattern), matches);
    });
  }

  void operator()(const DigitsStep& step) const {
    const auto behavior = step.individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
    split(pieces, behavior, /*invert=*/false, [](std::string_view piece, std::vector<Span>* matches) {
      for (size_t at = 0; at < piece.size();) {
        const CodePoint c = first_code_point(piece.substr(at));
        if (is_numeric(c.value)) matches->push_back({at, at + c.length});
        at += c.length;
      }
    });
  }

  void operator()(const ByteLevelStep& step) const {
    if (step.add_prefix_space) {
      rewrite_all(pieces, [](std::string_view piece, bool, std::string* text) {
        if (piece.front() != ' ') text->push_back(' ');
        text->append(piece);
      });
    }
    if (step.split) {
      split(
          pieces, SplitBehavior::kIsolated, /*invert=*/false,
          [&](std::string_view piece, std::vector<Span>* matches) { step.split->find_all(piece, matches); });
    }
    rewrite_all(pieces,
                [](std::string_view piece, bool, std::string* text) { append_byte_alphabet(piece, text); });
  }

  void operator()(const MetaspaceStep& step) const {
    using Prepend = MetaspaceStep::Prepend;
    rewrite_all(pieces, [&](std::string_view piece, bool is_first, std::string* text) {
      const std::string replaced = replace_all(piece, " ", step.replacement);
      const bool prepend = step.prepend == Prepend::kAlways ||
                           (step.prepend == Prepend::kFirst && is_first && pieces->at_start);
      if (prepend && !replaced.starts_with(step.replacement)) text->append(step.replacement);
      text->append(replaced);
    });
    if (!step.split) return;
    split(pieces, SplitBehavior::kMergedWithNext, /*invert=*/false,
          [&](std::string_view piece, std::vector<Span>* matches) {
            find_literal(piece, step.replacement, matches);
          });
  }
};

}  // namespace

void PreTokenizer::add(Step step) {
  steps_.push_back(std::move(step));
}

Pieces PreTokenizer::apply(std::string text, bool at_start) const {
  Pieces pieces{std::move(text), {}, at_start};
  if (!pieces.text.empty()) pieces.spans.push_back({0, pieces.text.size()});
  for (const Step& step : steps_) std::visit(Apply{&pieces}, step);
  return pieces;
}

}  // namespace octet
