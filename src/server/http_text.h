// Small pieces of HTTP: status lines, paths, and errors as answers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/exchange.h"

namespace octet {

const char* reason_phrase(int status);

// The path of a request target, without query and fragment, %XX undone; nullopt where that is malformed.
std::optional<std::string> decode_path(std::string_view target);

HttpResponse error_response(const ApiError& error);
HttpResponse json_response(std::string body);

std::string body_too_large(size_t max_bytes);

}  // namespace octet
