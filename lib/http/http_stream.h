// HttpStream: the body of an answer that comes in pieces, for as long as its request is answered.
//
// Control thread. Who writes bounds what waits: unsent_bytes() says how much its client has not
// taken, and when_sent() when that is all gone. A client that takes nothing for
// HttpServer::Options::write_max is cut off, and so is one whose answers that it has not taken are
// more than its share of the budget (which whoever gives stream_bytes charges itself); then, as
// when it goes away, nothing more is written, and PeerWatch says so.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace parkd {

class HttpStream {
 public:
  // Without an end() before, the connection is closed, so that the client sees that it was cut.
  virtual ~HttpStream() = default;

  // Requires: no more than HttpReply::stream_bytes in all, where that was given.
  virtual void write(std::string piece) = 0;
  // The body is whole, once all of it is written. With fewer than the stream_bytes it is cut.
  virtual void end() = 0;
  virtual size_t unsent_bytes() const = 0;
  // Calls `then` once, when nothing is unsent any more; not at all, if that never comes.
  virtual void when_sent(std::function<void()> then) = 0;
};

}  // namespace parkd
