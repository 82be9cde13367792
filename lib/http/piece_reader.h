// PieceReader: reads the body of a request for its BodySink, a piece at a time. A part of its
// HttpSession, which it belongs to. Control thread.
//
// It holds one piece at most, as large as the block that the request is charged with. Each piece
// has HttpServer::Options::body_max to come in; no time runs while the sink has it, and a client
// that goes away meanwhile is noticed: at once on a Unix socket, over TCP when it resets.
#pragma once

#include <boost/beast/core/error.hpp>
#include <cstdint>
#include <memory>
#include <optional>

#include "lib/http/http_reply.h"

namespace parkd {

class HttpSession;

class PieceReader {
 public:
  explicit PieceReader(HttpSession& session) : session_(session) {}
  PieceReader(const PieceReader&) = delete;
  PieceReader& operator=(const PieceReader&) = delete;

  // Reads the session's request on, to the end of its body or of what can be read of it:
  // HttpSession::on_body() either way.
  void read();

 private:
  class Handed;

  void advance();
  void read_more(size_t room_bytes);
  void hand_on();
  void hold();
  void taken(uint64_t piece, std::optional<HttpReply> reply);
  void dropped(uint64_t piece);
  bool take_back(uint64_t piece);

  HttpSession& session_;
  bool is_handed_ = false;  // the sink has a piece
  uint64_t n_handed_ = 0;   // pieces, of all requests of the session
};

}  // namespace parkd
