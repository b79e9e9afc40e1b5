// What a client got wrong, or what the server cannot do now, in the shape OpenAI's clients know:
//   {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
#pragma once

#include <string>

#include "base/status.h"

namespace octet {

struct ApiError {
  int status = 400;     // HTTP
  std::string message;  // names the field, what was expected, what was found
  std::string type = "invalid_request_error";
  std::string param;    // the field, as a path: "messages[2].content"; empty: null
  std::string code;     // "context_length_exceeded", ...; empty: null
  int retry_after = 0;  // seconds, for the Retry-After header; 0: none
};

ApiError bad_field(std::string param, std::string message);
// An error that is no field's: `status` with the type that goes with it.
ApiError api_error(int status, std::string message, std::string code = "");
// The engine's and the templates' errors: StatusCode to HTTP.
ApiError to_api_error(const Status& status);

std::string to_json(const ApiError& error);

}  // namespace octet
