// Status and Result<T>: how an operating failure travels.
//
// Expected answers ("the job was already finished") belong in a return type of their own; Status is
// for the operation that could not be done. The codes are few and chosen by what the caller does
// next. Values, safe to copy and to move between threads.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "lib/base/check.h"

namespace parkd {

enum class StatusCode {
  ok,
  invalid,      // the input is wrong and will stay wrong: tell the user (HTTP 400)
  denied,       // who asks may not do this (HTTP 403)
  not_found,    // nothing of that name (HTTP 404)
  conflict,     // the same key with another content, or a state that forbids it (HTTP 409)
  exhausted,    // a limit is reached: later it may work (HTTP 429)
  unavailable,  // a part is away or stopping: later it may work (HTTP 503)
  corrupt,      // stored bytes are not what was written: an operator must act
  internal,     // anything else; retryable work may be tried again
};

// The word of a code, as it stands in logs and on the wire.
std::string_view to_string(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  // Names the input field at fault (OpenAI's error.param): "messages[0].role", "limits.max_units".
  Status& with_param(std::string param) {
    param_ = std::move(param);
    return *this;
  }

  Status& with_message(std::string message) {
    message_ = std::move(message);
    return *this;
  }
  // Says by OpenAI's word (error.code) what the code leaves open: "context_length_exceeded". Text
  // of static storage.
  Status& with_error_code(std::string_view word) {
    error_code_ = word;
    return *this;
  }

  bool ok() const { return code_ == StatusCode::ok; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& param() const { return param_; }
  std::string_view error_code() const { return error_code_; }  // empty: the code says it all
  // "invalid: text (field)", for logs and terminals.
  std::string to_string() const;

 private:
  StatusCode code_ = StatusCode::ok;
  std::string message_;
  std::string param_;
  std::string_view error_code_;
};

inline Status invalid(std::string message) {
  return {StatusCode::invalid, std::move(message)};
}
inline Status invalid_param(std::string param, std::string message) {
  return Status(StatusCode::invalid, std::move(message)).with_param(std::move(param));
}
inline Status denied(std::string message) {
  return {StatusCode::denied, std::move(message)};
}
inline Status not_found(std::string message) {
  return {StatusCode::not_found, std::move(message)};
}
inline Status conflict(std::string message) {
  return {StatusCode::conflict, std::move(message)};
}
inline Status exhausted(std::string message) {
  return {StatusCode::exhausted, std::move(message)};
}
inline Status unavailable(std::string message) {
  return {StatusCode::unavailable, std::move(message)};
}
inline Status corrupt(std::string message) {
  return {StatusCode::corrupt, std::move(message)};
}
inline Status internal_error(std::string message) {
  return {StatusCode::internal, std::move(message)};
}

// A T or the Status that says why there is none. Reading the wrong side is a bug and aborts.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {  // NOLINT: as above
    PARKD_CHECK(!std::get<1>(state_).ok(), "a Result made from an ok Status has no value");
  }

  bool ok() const { return state_.index() == 0; }
  const T& value() const& {
    PARKD_CHECK(ok(), "value() of a failed Result: " + std::get<1>(state_).to_string());
    return std::get<0>(state_);
  }
  T& value() & {
    PARKD_CHECK(ok(), "value() of a failed Result: " + std::get<1>(state_).to_string());
    return std::get<0>(state_);
  }
  // By value, so that `for (auto& x : f().value())` does not walk over a dead temporary.
  T value() && {
    PARKD_CHECK(ok(), "value() of a failed Result: " + std::get<1>(state_).to_string());
    return std::get<0>(std::move(state_));
  }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }
  // The failure; Status() when ok.
  Status status() const { return ok() ? Status() : std::get<1>(state_); }

 private:
  std::variant<T, Status> state_;
};

}  // namespace parkd

#define PARKD_CONCAT_INNER(a, b) a##b
#define PARKD_CONCAT(a, b) PARKD_CONCAT_INNER(a, b)

// Leaves the function with the Status of `expr` if it failed.
#define PARKD_RETURN_IF_ERROR(expr)              \
  do {                                           \
    ::parkd::Status parkd_status = (expr);       \
    if (!parkd_status.ok()) return parkd_status; \
  } while (false)

// PARKD_ASSIGN_OR_RETURN(auto x, f()); leaves the function with f()'s Status if it failed.
#define PARKD_ASSIGN_OR_RETURN(lhs, expr) \
  PARKD_ASSIGN_OR_RETURN_INNER(PARKD_CONCAT(parkd_result_, __LINE__), lhs, expr)
#define PARKD_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                 \
  if (!result.ok()) return result.status();             \
  lhs = std::move(result).value()
