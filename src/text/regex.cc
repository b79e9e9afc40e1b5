#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <algorithm>

#include <pcre2.h>

#include "text/regex_syntax.h"
#include "text/utf8.h"

namespace octet {

namespace {

constexpr uint32_t kMaxHeapKib = 512 << 10;
constexpr size_t kMaxPatternBytes = 64 << 10;

template <auto Function>
struct Deleter {
  template <typename T>
  void operator()(T* p) const {
    Function(p);
  }
};
using CompileContext = std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;

}  // namespace

void Regex::Free::operator()(pcre2_real_code_8* code) const {
  pcre2_code_free(code);
}

Result<Regex> Regex::compile(const std::string& pattern) {
  OCTET_ASSIGN_OR_RETURN(const std::string translated, translate_regex(pattern));
  const CompileContext context(pcre2_compile_context_create(nullptr));
  pcre2_set_max_pattern_length(context.get(), kMaxPatternBytes);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  size_t offset = 0;
  // Ruby's ^ and $ always mean lines.
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                   &offset, context.get());
  if (code == nullptr) {
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(error, text, sizeof text);
    return invalid_argument("regular expression '" + pattern + "': " + reinterpret_cast<const char*>(text));
  }
  // Where executable memory is forbidden, or the pattern is beyond the JIT, the interpreter takes over.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  return Regex(code);
}

void Regex::find_all(std::string_view subject, std::vector<Span>* matches) const {
  const MatchData data(pcre2_match_data_create(1, nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(),
                        static_cast<uint32_t>(std::min<size_t>(UINT32_MAX, (1 << 20) + 64 * subject.size())));
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  const auto match = [&](size_t from, uint32_t options) {
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), from,
                       PCRE2_NO_UTF_CHECK | options, data.get(), context.get());
  };
  for (size_t from = 0; from <= subject.size();) {
    int rc = match(from, 0);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(from, PCRE2_NO_JIT);  // its stack is the heap
    if (rc < 0) return;
    const size_t* ends = pcre2_get_ovector_pointer(data.get());
    const Span found{ends[0], ends[1]};
    if (found.begin < from || found.end < found.begin) return;  // \K in a look-around
    matches->push_back(found);
    from = found.end;
    if (found.size() == 0) {
      if (from == subject.size()) return;
      from += first_code_point(subject.substr(from)).length;
    }
  }
}

}  // namespace octet
