#include "lib/openai/errors.h"

#include "lib/base/json_writer.h"
#include "lib/job/ending_codes.h"

namespace parkd {

std::string render_error(int32_t http_status, std::string_view code, std::string_view message,
                         std::string_view param) {
  JsonWriter json;
  json.begin_object().begin_object("error").member("message", message);
  json.member("type", http_status < 500 ? "invalid_request_error" : "server_error");
  json.member("param", TextOrNull{param}).member("code", TextOrNull{code});
  return json.end_object().end_object().take();
}

std::string render_error(const Status& status) {
  std::string_view code = status.error_code();
  if (code.empty()) {
    code =
        status.code() == StatusCode::invalid ? failure::kInvalidRequest : to_string(status.code());
  }
  return render_error(http_status_of(status.code()), code, status.message(), status.param());
}

std::string render_error(int32_t http_status, const Status& status) {
  const std::string_view code =
      status.error_code().empty() ? failure::kInvalidRequest : status.error_code();
  return render_error(http_status, code, status.message(), status.param());
}

int32_t http_status_of(StatusCode code) {
  switch (code) {
    case StatusCode::ok:
      return 200;
    case StatusCode::invalid:
      return 400;
    case StatusCode::denied:
      return 403;
    case StatusCode::not_found:
      return 404;
    case StatusCode::conflict:
      return 409;
    case StatusCode::exhausted:
      return 429;
    case StatusCode::unavailable:
      return 503;
    case StatusCode::corrupt:
    case StatusCode::internal:
      return 500;
  }
  return 500;
}

}  // namespace parkd
