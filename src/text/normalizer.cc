#include "text/normalizer.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include <utf8proc.h>

#include "text/utf8.h"

namespace octet {

namespace {

struct Apply {
  std::string text;

  std::string operator()(const NfcStep&) { return to_nfc(text); }
  std::string operator()(const PrependStep& step) { return text.empty() ? text : step.text + text; }
  std::string operator()(const ReplaceStep& step) {
    if (const auto* literal = std::get_if<std::string>(&step.pattern))
      return replace_all(text, *literal, step.with);
    std::vector<Span> matches;
    std::get<Regex>(step.pattern).find_all(text, &matches);
    std::string out;
    size_t at = 0;
    for (const Span& match : matches) {
      out.append(text, at, match.begin - at).append(step.with);
      at = match.end;
    }
    return out.append(text, at);
  }
};

// Sorts each run of combining characters by its class. (utf8proc's own way of doing so is quadratic in a
// run.)
void order_combining(std::vector<utf8proc_int32_t>* points) {
  struct Combining {
    utf8proc_propval_t order;
    utf8proc_int32_t point;
  };
  std::vector<Combining> run;
  for (size_t i = 0; i < points->size();) {
    run.clear();
    for (size_t j = i; j < points->size(); ++j) {
      const auto order = utf8proc_get_property((*points)[j])->combining_class;
      if (order == 0) break;
      run.push_back({order, (*points)[j]});
    }
    std::stable_sort(run.begin(), run.end(), [](auto& a, auto& b) { return a.order < b.order; });
    for (const Combining& c : run) (*points)[i++] = c.point;
    if (run.empty()) ++i;
  }
}

}  // namespace

void Normalizer::add(Step step) {
  steps_.push_back(std::move(step));
}

std::string Normalizer::apply(std::string_view text) const {
  Apply apply{std::string(text)};
  for (const Step& step : steps_) apply.text = std::visit(apply, step);
  return std::move(apply.text);
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  if (from.empty()) return std::string(text);
  for (size_t at = 0;;) {
    const size_t found = text.find(from, at);
    out.append(text.substr(at, found - at));
    if (found == std::string_view::npos) return out;
    out.append(to);
    at = found + from.size();
  }
}

std::string to_nfc(std::string_view text) {
  // Nothing below U+0300 (lead byte 0xCC) composes or decomposes in this form.
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0xCC; })) {
    return std::string(text);
  }
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    utf8proc_int32_t parts[32];
    int boundary = 0;
    const auto n = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c.value), parts, std::size(parts),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
    points.insert(points.end(), parts, parts + n);
    text.remove_prefix(c.length);
  }
  order_combining(&points);
  const auto n = utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                                          static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  std::string out;
  for (utf8proc_ssize_t i = 0; i < n; ++i) append_code_point(static_cast<uint32_t>(points[i]), &out);
  return out;
}

}  // namespace octet
