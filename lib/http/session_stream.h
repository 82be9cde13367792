// SessionStream: an HttpStream over the connection of its request. It keeps the session alive.
// Control thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "lib/http/http_session.h"
#include "lib/http/http_stream.h"

namespace parkd {

class SessionStream : public HttpStream {
 public:
  // How the client knows where the body ends (RFC 9112, 6.3). One of HTTP/1.0 knows no chunks.
  enum class Framing { length, chunks, connection_end };

  // `header`: what goes out first. `body_bytes`: where the framing is the length.
  SessionStream(std::shared_ptr<HttpSession> session, std::string header, Framing framing,
                int64_t body_bytes);
  ~SessionStream() override;

  void write(std::string piece) override;
  void end() override;
  size_t unsent_bytes() const override;
  void when_sent(std::function<void()> then) override;

 private:
  // What the writes that are under way hold on to; the stream itself may be gone by then.
  struct State;
  static void cut(const std::shared_ptr<State>& state);
  static void send(const std::shared_ptr<State>& state);
  static void sent(const std::shared_ptr<State>& state, boost::beast::error_code error);
  static void sent_guarded(const std::shared_ptr<State>& state, boost::beast::error_code error);
  static void end_for_want_of_room(const std::shared_ptr<State>& state, const Status& why);

  const std::shared_ptr<State> state_;
};

}  // namespace parkd
