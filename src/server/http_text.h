// Small pieces of HTTP: status lines, paths, and errors as answers.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/exchange.h"

namespace octet {

const char* reason_phrase(int status);
std::string http_date(std::time_t time);  // "Sun, 06 Nov 1994 08:49:37 GMT"

// The path of a request target, without query and fragment, %XX undone; nullopt where that is malformed.
std::optional<std::string> decode_path(std::string_view target);

HttpResponse error_response(const ApiError& error);
HttpResponse json_response(std::string body);

std::string body_too_large(size_t max_bytes);

}  // namespace octet
