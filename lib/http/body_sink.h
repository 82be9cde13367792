// BodySink: takes a request's body in pieces as it comes, for bodies too large to be kept. Whoever
// admits the request makes it (HttpAdmission::sink). Control thread.
//
// The connection lets go of it when `begin` of the request has been called, and when the body will
// never be whole: the client went away, or the request was refused. It never calls it again then.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lib/http/http_reply.h"

namespace parkd {

class BodySink {
 public:
  // Called once, from any thread. With nothing the body goes on; with a reply the request is
  // answered with that and the rest of the body is not read. Let go of uncalled it closes the
  // connection; after the connection's end it does nothing. It does not keep the connection alive.
  using Next = std::function<void(std::optional<HttpReply>)>;

  // Let go of before the body was whole, the rest never comes.
  virtual ~BodySink() = default;

  // The next piece, never empty, at most kBlockBytes. All but the last have half of that or more,
  // however the client sent them. Nothing more is read from the connection until `next` is called.
  virtual void take(std::string piece, Next next) = 0;
};

}  // namespace parkd
