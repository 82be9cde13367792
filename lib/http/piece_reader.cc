#include "lib/http/piece_reader.h"

#include <boost/asio/post.hpp>
#include <new>
#include <string>
#include <utility>

#include "lib/base/log.h"
#include "lib/http/http_session.h"

namespace parkd {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

// What a sink's Next holds: it may be called and let go of on any thread, the session only on the
// control thread. Weak, as the session has the sink, and the sink may keep its Next.
class PieceReader::Handed {
 public:
  Handed(PieceReader& reader, uint64_t piece)
      : io_(reader.session_.io()), session_(reader.session_.weak_from_this()), piece_(piece) {}
  ~Handed() {
    if (is_called_) return;
    try {
      post([piece = piece_](PieceReader& reader) { reader.dropped(piece); });
    } catch (const std::bad_alloc&) {
      // Better a connection that stays than one that ends on another thread.
    }
  }
  Handed(const Handed&) = delete;
  Handed& operator=(const Handed&) = delete;

  void call(std::optional<HttpReply> reply) {
    if (is_called_) return;
    post([piece = piece_, reply = std::move(reply)](PieceReader& reader) mutable {
      reader.taken(piece, std::move(reply));
    });
    is_called_ = true;
  }

 private:
  template <class Step>
  void post(Step step) {
    asio::post(io_, [weak = session_, step = std::move(step)]() mutable {
      const auto session = weak.lock();
      if (session != nullptr) session->guarded([&] { step(session->pieces_); });
    });
  }

  asio::io_context& io_;
  const std::weak_ptr<HttpSession> session_;
  const uint64_t piece_;
  bool is_called_ = false;
};

void PieceReader::read() {
  session_.begin_time_limit(session_.server_->options.body_max);
  advance();
}

void PieceReader::advance() {
  auto& parser = *session_.parser_;
  auto& buffer = session_.buffer_;
  beast::error_code error;
  if (buffer.size() > 0) {
    parser.eager(true);  // through all chunks that are there
    buffer.consume(parser.put(buffer.data(), error));
    if (error == http::error::need_more) error = {};
  }
  if (error) return session_.on_body(error);
  const size_t piece_bytes = parser.get().body().size();
  // All that is read may become part of the piece.
  const size_t room_bytes = kBlockBytes - piece_bytes - buffer.size();
  const bool is_full = piece_bytes >= kBlockBytes / 2 || room_bytes == 0;
  if (piece_bytes > 0 && (is_full || parser.is_done())) return hand_on();
  if (parser.is_done()) return session_.on_body({});
  if (room_bytes == 0) return session_.on_body(http::error::buffer_overflow);
  read_more(room_bytes);
}

void PieceReader::read_more(size_t room_bytes) {
  session_.stream_.async_read_some(
      session_.buffer_.prepare(room_bytes),
      [this, self = session_.shared_from_this()](beast::error_code error, size_t n) {
        session_.buffer_.commit(n);
        if (error == asio::error::eof) session_.parser_->put_eof(error);
        session_.guarded([&] { error ? session_.on_body(error) : advance(); });
      });
}

void PieceReader::hand_on() {
  (void)session_.end_time_limit();
  is_handed_ = true;
  const auto handed = std::make_shared<Handed>(*this, ++n_handed_);
  hold();
  session_.admission_.sink->take(
      session_.parser_->get().body().take(),
      [handed](std::optional<HttpReply> reply) { handed->call(std::move(reply)); });
}

// Keeps the session alive while the sink has a piece, for as long as its client is there.
void PieceReader::hold() {
  session_.stream_.socket().async_wait(
      HttpSession::Socket::wait_error,
      [this, self = session_.shared_from_this(), piece = n_handed_](beast::error_code error) {
        if (!is_handed_ || piece != n_handed_) return;
        if (!error && !session_.peer_has_gone()) return session_.guarded([&] { hold(); });
        (void)take_back(piece);
        session_.let_go_of_request();
      });
}

// Whether the sink had the piece until now.
bool PieceReader::take_back(uint64_t piece) {
  if (!is_handed_ || piece != n_handed_) return false;
  is_handed_ = false;
  beast::error_code ignored;
  session_.stream_.socket().cancel(ignored);  // hold()
  return true;
}

void PieceReader::taken(uint64_t piece, std::optional<HttpReply> reply) {
  if (!take_back(piece)) return;
  if (!reply) return session_.parser_->is_done() ? session_.on_body({}) : read();
  if (!session_.parser_->is_done()) {
    session_.body_unread_ = true;
    return session_.refuse(std::move(*reply));
  }
  session_.let_go_of_request();
  session_.set_answering(true);
  session_.write(std::move(*reply));
}

void PieceReader::dropped(uint64_t piece) {
  if (!take_back(piece)) return;
  log_error("http.body_dropped", {{"route", session_.admission_.route}});
  session_.let_go_of_request();
  beast::error_code ignored;
  session_.stream_.socket().close(ignored);
}

}  // namespace parkd
