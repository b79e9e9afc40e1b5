// Status and Result<T>: how everything that the outside world can get wrong (files, JSON, HTTP, devices,
// options) reports it. A message is one line that names the thing and the remedy. Our own mistakes are CHECKs
// (check.h).
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace octet {

enum class StatusCode {
  kOk,
  kInvalidArgument,    // the caller asked for something that makes no sense: HTTP 400, exit code 2
  kNotFound,           // a file, model, or field that is not there: HTTP 404
  kCorrupt,            // bytes that are not what their format promises
  kUnsupported,        // understood, but not there: the message says what is
  kResourceExhausted,  // out of memory, queue full: HTTP 429
  kUnavailable,        // shutting down, or a device gone: HTTP 503
  kInternal,
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same error, with "context: " put before its message.
  Status with_context(const std::string& context) const {
    return ok() ? *this : Status(code_, context + ": " + message_);
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status invalid_argument(std::string m) {
  return {StatusCode::kInvalidArgument, std::move(m)};
}
inline Status not_found(std::string m) {
  return {StatusCode::kNotFound, std::move(m)};
}
inline Status corrupt(std::string m) {
  return {StatusCode::kCorrupt, std::move(m)};
}
inline Status unsupported(std::string m) {
  return {StatusCode::kUnsupported, std::move(m)};
}
inline Status resource_exhausted(std::string m) {
  return {StatusCode::kResourceExhausted, std::move(m)};
}
inline Status unavailable(std::string m) {
  return {StatusCode::kUnavailable, std::move(m)};
}
inline Status internal_error(std::string m) {
  return {StatusCode::kInternal, std::move(m)};
}

// A T, or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Status status) : state_(std::move(status)) {
    OCTET_CHECK(!std::get<Status>(state_).ok()) << "a Result without a value needs an error";
  }

  bool ok() const { return std::holds_alternative<T>(state_); }
  Status status() const { return ok() ? Status() : std::get<Status>(state_); }

  T& value() & {
    check_ok();
    return std::get<T>(state_);
  }
  const T& value() const& {
    check_ok();
    return std::get<T>(state_);
  }
  T&& value() && {
    check_ok();
    return std::get<T>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  void check_ok() const { OCTET_CHECK(ok()) << std::get<Status>(state_).message(); }
  std::variant<T, Status> state_;
};

}  // namespace octet

#define OCTET_CONCAT_INNER(a, b) a##b
#define OCTET_CONCAT(a, b) OCTET_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr` (a Status) is an error.
#define OCTET_RETURN_IF_ERROR(expr)                                                     \
  do {                                                                                  \
    if (::octet::Status octet_status = (expr); !octet_status.ok()) return octet_status; \
  } while (0)

// `lhs = value of expr` (a Result), or returns its error from the enclosing function.
#define OCTET_ASSIGN_OR_RETURN(lhs, expr) \
  OCTET_ASSIGN_OR_RETURN_INNER(OCTET_CONCAT(octet_result_, __LINE__), lhs, expr)
#define OCTET_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                 \
  if (!result.ok()) return result.status();             \
  lhs = std::move(result).value()
