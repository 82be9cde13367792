#include "lib/http/session_stream.h"

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <charconv>
#include <optional>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"

namespace parkd {

namespace asio = boost::asio;
namespace beast = boost::beast;

struct SessionStream::State {
  State(std::shared_ptr<HttpSession> of, Framing how, int64_t body_bytes)
      : session(std::move(of)), framing(how), left_bytes(body_bytes) {}

  std::shared_ptr<HttpSession> session;
  const Framing framing;
  int64_t left_bytes;   // of Framing::length, not yet written
  std::string waiting;  // framed
  std::string sending;
  bool is_sending = false;
  bool has_ended = false;  // end() was called
  bool is_closed = false;  // nothing can be written any more
  std::function<void()> then;
  std::optional<ByteBudget::Charge> charge;  // of what is unsent

  size_t unsent_bytes() const { return waiting.size() + sending.size(); }

  // More than a little that the client has not taken is charged, but for bodies of known length:
  // who sends a file charges what it has read of it.
  Status charge_unsent() {
    const size_t bytes = unsent_bytes();
    if (framing == Framing::length || bytes <= kWriteBytes) return {};
    if (!charge) charge.emplace(session->server_->answers, session->request_.who);
    return bytes > charge->held_bytes() ? charge->grow(bytes - charge->held_bytes()) : Status();
  }

  void frame(const std::string& piece) {
    if (framing != Framing::chunks) {
      waiting += piece;
      return;
    }
    std::array<char, 16> digits{};
    const auto end =
        std::to_chars(digits.data(), digits.data() + digits.size(), piece.size(), 16).ptr;
    waiting.append(digits.data(), end).append("\r\n").append(piece).append("\r\n");
  }
};

SessionStream::SessionStream(std::shared_ptr<HttpSession> session, std::string header,
                             Framing framing, int64_t body_bytes)
    : state_(std::make_shared<State>(std::move(session), framing, body_bytes)) {
  state_->waiting = std::move(header);
  send(state_);
}

SessionStream::~SessionStream() {
  if (!state_->has_ended && !state_->is_closed) cut(state_);
}

void SessionStream::cut(const std::shared_ptr<State>& state) {
  state->is_closed = true;
  beast::error_code ignored;
  HttpSession& session = *state->session;
  session.end_peer_watch();
  session.stream_.socket().close(ignored);
  session.set_answering(false);
  state->session.reset();
}

void SessionStream::write(std::string piece) {
  if (piece.empty() || state_->has_ended) return;
  if (state_->framing == Framing::length) {
    state_->left_bytes -= static_cast<int64_t>(piece.size());
    PARKD_CHECK(state_->left_bytes >= 0, "a body of known length has more bytes than it said");
  }
  if (state_->is_closed) return;
  state_->frame(piece);
  if (const Status status = state_->charge_unsent(); !status.ok())
    return end_for_want_of_room(state_, status);
  send(state_);
}

// As if the peer had gone: whoever writes is told by its watch, and not within write().
void SessionStream::end_for_want_of_room(const std::shared_ptr<State>& state, const Status& why) {
  HttpSession& session = *state->session;
  log_warn("http.stream_cut", {{"route", session.admission_.route},
                               {"unsent_bytes", state->unsent_bytes()},
                               {"reason", why.message()}});
  state->waiting = {};
  beast::error_code ignored;
  session.stream_.socket().close(ignored);
  if (state->is_sending) return;  // that write fails
  state->is_sending = true;
  asio::post(session.io(), [state] { sent_guarded(state, asio::error::operation_aborted); });
}

void SessionStream::end() {
  if (std::exchange(state_->has_ended, true) || state_->is_closed) return;
  if (state_->framing == Framing::length && state_->left_bytes > 0) {
    log_error("http.body_cut", {{"route", state_->session->admission_.route},
                                {"missing_bytes", state_->left_bytes}});
    return cut(state_);
  }
  if (state_->framing == Framing::chunks) state_->waiting += "0\r\n\r\n";
  send(state_);
}

size_t SessionStream::unsent_bytes() const {
  return state_->unsent_bytes();
}

void SessionStream::when_sent(std::function<void()> then) {
  state_->then = std::move(then);
}

void SessionStream::send(const std::shared_ptr<State>& state) {
  if (state->is_sending || state->is_closed) return;
  if (state->waiting.empty() && !state->has_ended) return;
  HttpSession& session = *state->session;
  if (state->has_ended) session.end_peer_watch();
  state->is_sending = true;
  std::swap(state->sending, state->waiting);
  session.write_all(asio::buffer(std::as_const(state->sending)),
                    [state](beast::error_code error, size_t) { sent_guarded(state, error); });
}

void SessionStream::sent_guarded(const std::shared_ptr<State>& state, beast::error_code error) {
  const auto held = state->session;  // it may go with the state's hold on it
  if (held != nullptr) held->guarded([&] { sent(state, error); });
}

void SessionStream::sent(const std::shared_ptr<State>& state, beast::error_code error) {
  state->is_sending = false;
  state->sending.clear();
  if (state->charge) state->charge->shrink_to(state->unsent_bytes());
  if (state->is_closed) return;
  HttpSession& session = *state->session;
  if (error || (state->has_ended && state->waiting.empty())) {
    state->is_closed = true;
    state->then = nullptr;
    if (error && session.watch_ != nullptr) session.watch_->gone();
    session.end_peer_watch();
    session.written(error);
    state->session.reset();
    return;
  }
  if (!state->waiting.empty()) return send(state);
  session.stream_.expires_never();  // the next piece may be long in coming
  if (auto then = std::exchange(state->then, nullptr)) then();
}

}  // namespace parkd
