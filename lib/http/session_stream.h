// SessionStream: an HttpStream over the connection of its request: chunks (RFC 9112, 7.1), or for a
// client of HTTP/1.0 the bytes until the connection's end. It keeps the session alive. Control
// thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "lib/http/http_session.h"
#include "lib/http/http_stream.h"

namespace parkd {

class SessionStream : public HttpStream {
 public:
  // `header`: what goes out first.
  SessionStream(std::shared_ptr<HttpSession> session, std::string header, bool is_chunked,
                bool keep);
  ~SessionStream() override;

  void write(std::string piece) override;
  void end() override;
  size_t unsent_bytes() const override;
  void when_sent(std::function<void()> then) override;

 private:
  // What the writes that are under way hold on to; the stream itself may be gone by then.
  struct State;
  static void send(const std::shared_ptr<State>& state);
  static void sent(const std::shared_ptr<State>& state, boost::beast::error_code error);

  const std::shared_ptr<State> state_;
};

}  // namespace parkd
