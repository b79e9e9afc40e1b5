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

}  // namespace

struct ModuleRegex::Code {
  std::unique_ptr<pcre2_code, FreeCode> code;
};

ModuleRegex::ModuleRegex(std::string text, std::unique_ptr<Code> code)
    : text_(std::move(text)), code_(std::move(code)) {}
ModuleRegex::ModuleRegex(ModuleRegex&&) noexcept = default;
ModuleRegex::~ModuleRegex() = default;

Result<ModuleRegex> ModuleRegex::compile(const std::string& pattern, bool anchored) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pattern.size() > kMaxPattern
                         ? nullptr
                         : pcre2_compile(chars(pattern), pattern.size(), anchored ? PCRE2_ANCHORED : 0,
                                         &error, &offset, nullptr);
  if (code == nullptr) {
    return invalid_argument("expected a regular expression, found \"" + pattern.substr(0, 60) +
                            "\" (wrong at character " + std::to_string(offset) + ")");
  }
  return ModuleRegex(pattern, std::make_unique<Code>(Code{std::unique_ptr<pcre2_code, FreeCode>(code)}));
}

Result<bool> ModuleRegex::matches(const std::string& module) const {
  const std::unique_ptr<pcre2_match_context, FreeMatchContext> context(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(), kMaxSteps);
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  const pcre2_code* code = code_->code.get();
  const std::unique_ptr<pcre2_match_data, FreeMatchData> data(
      pcre2_match_data_create_from_pattern(code, nullptr));
  const int found = pcre2_match(code, chars(module), module.size(), 0, 0, data.get(), context.get());
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  return unsupported("the regular expression \"" + text_ + "\" takes too many steps on " + module);
}

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
    auto regex = ModuleRegex::compile(text.substr(kRegexPrefix.size()), /*anchored=*/true);
    if (!regex.ok()) return corrupt("after re: " + regex.status().message());
    matcher.regexes_.push_back(std::move(regex).value());
  }
  return matcher;
}

Result<ModuleMatcher::Match> ModuleMatcher::match(const std::string& module) const {
  if (names_.count(module) > 0) return kName;
  for (const auto& regex : regexes_) {
    OCTET_ASSIGN_OR_RETURN(const bool found, regex.matches(module));
    if (found) return kRegex;
  }
  return names_.count("Linear") > 0 ? kClass : kNone;
}

}  // namespace octet
