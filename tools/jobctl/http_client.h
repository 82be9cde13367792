// HttpClient: jobctl's one way to a daemon: HTTP/1.1 with JSON over its Unix socket.
//
// One thread. Keeps its connection open between calls. A call on a connection that turns out to be
// closed is sent again on a new one; the first call of a client never is, so a call that must not
// be carried out twice (take) is a client's first. Submits carry idempotency keys instead.
#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd::jobctl {

struct HttpAnswer {
  int status = 0;  // HTTP status code
  std::string text;
  boost::json::value json;  // null when the body is not JSON
};

class HttpClient {
 public:
  // `tenant` empty: the daemon derives it from the user. `timeout` bounds one call.
  HttpClient(std::string socket_path, std::string tenant, std::chrono::seconds timeout);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // An answer of any status is a value; unavailable means that nothing, or no whole answer, came.
  Result<HttpAnswer> get(const std::string& target);
  Result<HttpAnswer> post(const std::string& target, const boost::json::value& body);
  // `json` as it stands.
  Result<HttpAnswer> post_text(const std::string& target, const std::string& json);

  // GET of what comes in pieces, on a connection of its own: each of a 200 goes to `on_piece`, and
  // the answer has no text. Cut before its end it is unavailable.
  Result<HttpAnswer> stream(const std::string& target, const std::string& last_event_id,
                            const std::function<void(std::string_view)>& on_piece);

  const std::string& socket_path() const { return socket_path_; }

 private:
  class Connection;
  Result<HttpAnswer> call(const std::string& method, const std::string& target,
                          const std::string& body);

  const std::string socket_path_;
  const std::string tenant_;
  const std::chrono::seconds timeout_;
  std::unique_ptr<Connection> connection_;  // null when none is open
};

// The error of an answer that is not 2xx, as a Status: the daemon's own message and param.
Status status_of(const HttpAnswer& answer);

// `text` as one path segment or query value (RFC 3986).
std::string url_encode(std::string_view text);

}  // namespace parkd::jobctl
