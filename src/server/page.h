// The chat page, page.html, as text. It is one file and loads nothing from elsewhere; "{{nonce}}" stands
// where the Content-Security-Policy's nonce goes.
#pragma once

#include <string_view>

namespace octet {

extern const std::string_view kPageHtml;

}  // namespace octet
