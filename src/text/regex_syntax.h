// From the regular expressions of tokenizer.json (Oniguruma, Ruby syntax) to those of PCRE2.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace octet {

// \s \S \w \W become explicit classes: PCRE2 counts U+180E as a space, and its \w has no marks. Refused with
// kUnsupported: what PCRE2 would silently read in another way, that is nested and intersected classes, \b \B
// \h \H, a \W within a class, and the flag m.
Result<std::string> translate_regex(std::string_view pattern);

}  // namespace octet
