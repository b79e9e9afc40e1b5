#include "server/api_error.h"

#include "server/json_text.h"

namespace octet {
namespace {

const char* type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 429:
      return "rate_limit_error";
    case 500:
      return "server_error";
    case 503:
      return "service_unavailable_error";
    default:
      return "invalid_request_error";
  }
}

void append_nullable(std::string& out, const std::string& text) {
  if (text.empty()) {
    out += "null";
  } else {
    append_json_string(out, text);
  }
}

}  // namespace

ApiError bad_field(std::string param, std::string message) {
  ApiError error;
  error.message = std::move(message);
  error.param = std::move(param);
  return error;
}

ApiError api_error(int status, std::string message, std::string code) {
  ApiError error;
  error.status = status;
  error.message = std::move(message);
  error.type = type_of(status);
  error.code = std::move(code);
  if (status == 429 || status == 503) error.retry_after = 1;
  return error;
}

ApiError to_api_error(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kUnsupported:
      return api_error(400, status.message());
    case StatusCode::kNotFound:
      return api_error(404, status.message());
    case StatusCode::kResourceExhausted:
      return api_error(429, status.message(), "queue_full");
    case StatusCode::kUnavailable:
      return api_error(503, status.message());
    default:
      return api_error(500, status.message());
  }
}

std::string to_json(const ApiError& error) {
  std::string out = R"({"error":{"message":)";
  append_json_string(out, error.message);
  out += R"(,"type":)";
  append_json_string(out, error.type);
  out += R"(,"param":)";
  append_nullable(out, error.param);
  out += R"(,"code":)";
  append_nullable(out, error.code);
  out += "}}";
  return out;
}

}  // namespace octet
