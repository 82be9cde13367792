// OpenAI's error object, and the HTTP status of a failure. Pure, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

// {"error":{"message":...,"type":...,"param":...,"code":...}}. `code` empty: null; so is `param`.
// `type` follows from the HTTP status: invalid_request_error below 500, server_error from there.
std::string render_error(int32_t http_status, std::string_view code, std::string_view message,
                         std::string_view param);

// The same, of a Status; the code is its error_code, else its code's word ("invalid" is written
// invalid_request).
std::string render_error(const Status& status);
// The same with another HTTP status; the code of one that names none is invalid_request.
std::string render_error(int32_t http_status, const Status& status);

// 400, 403, 404, 409, 429, 503 or 500.
int32_t http_status_of(StatusCode code);

}  // namespace parkd
