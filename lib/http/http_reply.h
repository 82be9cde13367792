// HttpReply: what a request is answered with. Values, any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/http/http_stream.h"

namespace parkd {

struct HttpReply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::string retry_after_s{};                              // header Retry-After; empty: none
  std::string allow{};                                      // header Allow; empty: none
  std::vector<std::pair<std::string, std::string>> more{};  // headers of a route's own
  // The body comes later, in pieces: called on the control thread once the header is under way.
  // Not called where the client has gone, nor of a HEAD.
  std::function<void(std::shared_ptr<HttpStream>)> begin_stream{};
  // Of the body that begin_stream brings, where it is known: it goes out as Content-Length.
  std::optional<int64_t> stream_bytes{};
};

// {"error": ...} of a Status, with the HTTP status that fits.
HttpReply error_reply(const Status& status);
// The same with another HTTP status.
HttpReply error_reply(int http_status, const Status& status);

}  // namespace parkd
