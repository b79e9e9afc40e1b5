#include "formats/module_matcher.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace octet {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
// Bounds for expressions of any file: what all of them take together stays within seconds.
constexpr uint32_t kMaxSteps = 10'000, kMaxHeapKib = 1'024;
constexpr size_t kMaxPattern = 4'096, kMaxRegexes = 64;

struct FreeCode {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

PCRE2_SPTR chars(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

Result<pcre2_code*> compile_regex(std::string_view pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pattern.size() > kMaxPattern ? nullptr
                                                  : pcre2_compile(chars(pattern), pattern.size(),
                                                                  PCRE2_ANCHORED, &error, &offset, nullptr);
  if (code == nullptr) {
    return corrupt("expected a regular expression after re:, found \"" + std::string(pattern.substr(0, 60)) +
                   "\" (wrong at character " + std::to_string(offset) + ")");
  }
  return code;
}

}  // namespace

struct ModuleMatcher::Regex {
  std::string text;
  std::unique_ptr<pcre2_code, FreeCode> code;
};

ModuleMatcher::ModuleMatcher() = default;
ModuleMatcher::ModuleMatcher(ModuleMatcher&&) noexcept = default;
ModuleMatcher& ModuleMatcher::operator=(ModuleMatcher&&) noexcept = default;
ModuleMatcher::~ModuleMatcher() = default;

Result<ModuleMatcher> ModuleMatcher::compile(const std::vector<std::string>& targets) {
  ModuleMatcher matcher;
  for (const auto& text : targets) {
    if (text.rfind(kRegexPrefix, 0) != 0) {
      matcher.names_.insert(text);
      continue;
    }
    if (matcher.regexes_.size() == kMaxRegexes) {
      return unsupported("expected at most " + std::to_string(kMaxRegexes) + " regular expressions");
    }
    OCTET_ASSIGN_OR_RETURN(pcre2_code * code,
                           compile_regex(std::string_view(text).substr(kRegexPrefix.size())));
    matcher.regexes_.push_back(
        std::make_unique<Regex>(Regex{text, std::unique_ptr<pcre2_code, FreeCode>(code)}));
  }
  return matcher;
}

Result<ModuleMatcher::Match> ModuleMatcher::match(const std::string& module) const {
  if (names_.count(module) > 0) return kName;
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(), kMaxSteps);
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  for (const auto& regex : regexes_) {
    const std::unique_ptr<pcre2_match_data, FreeMatchData> data(
        pcre2_match_data_create_from_pattern(regex->code.get(), nullptr));
    const int found =
        pcre2_match(regex->code.get(), chars(module), module.size(), 0, 0, data.get(), context.get());
    if (found >= 0) return kRegex;
    if (found != PCRE2_ERROR_NOMATCH) {
      return unsupported("the regular expression \"" + regex->text + "\" takes too many steps on " + module);
    }
  }
  return names_.count("Linear") > 0 ? kClass : kNone;
}

}  // namespace octet
