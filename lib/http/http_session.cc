#include "lib/http/http_session.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <new>
#include <sstream>
#include <string_view>
#include <utility>

#include "lib/base/log.h"
#include "lib/http/pending_answer.h"
#include "lib/http/request_head.h"
#include "lib/http/session_stream.h"

namespace parkd {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

constexpr uint32_t kHeaderBytesMax = 16 * 1024;
constexpr size_t kReadBytes = kBlockBytes;              // at a time
constexpr auto kDiscardTime = std::chrono::seconds(5);  // in all
constexpr auto kQuietTime = std::chrono::seconds(1);    // of a client that sends no more
constexpr auto kLookEvery = std::chrono::seconds(1);    // for the end of one that sends ahead
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string text_of_head(const http::response<http::empty_body>& response) {
  std::ostringstream text;
  text << response.base();
  return std::move(text).str();
}

// The client ended the connection, or has done so in the midst of a request.
bool is_gone(beast::error_code error) {
  return error == http::error::end_of_stream || error == asio::error::operation_aborted ||
         error == asio::error::connection_reset || error == http::error::partial_message;
}

}  // namespace

HttpSession::HttpSession(std::shared_ptr<HttpServer::State> server, Socket socket, Principal peer)
    : server_(std::move(server)),
      peer_(std::move(peer)),
      stream_(std::move(socket)),
      time_limit_(server_->io),
      buffer_(kReadBytes) {
  server_->sessions.insert(this);
}

HttpSession::~HttpSession() {
  server_->sessions.erase(this);
  set_answering(false);
  server_->connections.leave(peer_);
}

asio::io_context& HttpSession::io() const {
  return server_->io;
}

void HttpSession::end_without_memory() {
  log_error("api.out_of_memory", {{"at", "connection"}});
  beast::error_code ignored;
  stream_.socket().close(ignored);
}

void HttpSession::set_answering(bool answering) {
  if (answering == answering_) return;
  answering_ = answering;
  server_->unanswered += answering ? 1 : -1;
}

// Beast's own time limits close the socket, so that the peer could not be told.
void HttpSession::begin_time_limit(std::chrono::milliseconds limit) {
  stream_.expires_never();
  late_ = false;
  time_limit_.expires_after(limit);
  time_limit_.async_wait([weak = weak_from_this(), n = ++n_limits_](beast::error_code error) {
    const auto self = weak.lock();
    if (error || self == nullptr || self->n_limits_ != n) return;
    self->late_ = true;
    beast::error_code ignored;
    self->stream_.socket().cancel(ignored);
  });
}

// Whether what was limited was cut short.
bool HttpSession::end_time_limit() {
  ++n_limits_;
  time_limit_.cancel();
  return std::exchange(late_, false);
}

void HttpSession::start() {
  guarded([this] { wait_for_request(); });
}

void HttpSession::wait_for_request() {
  if (buffer_.size() > 0) return read_header();
  stream_.expires_after(server_->options.idle_max);
  stream_.async_read_some(buffer_.prepare(kReadBytes),
                          [self = shared_from_this()](beast::error_code error, size_t n) {
                            if (error) return;  // gone, or idle for too long
                            self->buffer_.commit(n);
                            self->guarded([&] { self->read_header(); });
                          });
}

void HttpSession::read_header() {
  parser_.emplace();
  parser_->header_limit(kHeaderBytesMax);
  parser_->body_limit(boost::none);  // the route says, and the header names the route
  head_only_ = false;
  streams_ = false;
  body_unread_ = false;
  body_expected_ = false;
  request_ = {};
  admission_ = {};
  begin_time_limit(server_->options.header_max);
  http::async_read_header(stream_, buffer_, *parser_,
                          [self = shared_from_this()](beast::error_code error, size_t) {
                            self->guarded([&] { self->on_header(error); });
                          });
}

void HttpSession::on_header(beast::error_code error) {
  const bool late = end_time_limit();
  if (late && error) {
    return refuse(
        error_reply(408, invalid("the request's header did not come within " +
                                 std::to_string(server_->options.header_max.count()) + " ms")));
  }
  if (is_gone(error)) return;
  if (error) return refuse(error_reply(invalid("not an HTTP request: " + error.message())));
  if (auto refusal = refused_by_header()) {
    let_go_of_request();
    if (parser_->is_done() && refusal->status != 501) {
      set_answering(true);
      return write(std::move(*refusal));
    }
    body_unread_ = true;
    return refuse(std::move(*refusal));
  }
  if (parser_->is_done()) return begin();
  if (!body_expected_) return read_body();
  write_all(asio::buffer(kContinue.data(), kContinue.size()),
            [self = shared_from_this()](beast::error_code failed, size_t) {
              if (!failed) self->guarded([&] { self->read_body(); });
            });
}

std::string HttpSession::body_over_limit(const std::string& bytes) const {
  return admission_.route +
         (admission_.body_limit_key.empty() ? ""
                                            : " (" + std::string(admission_.body_limit_key) + ")") +
         " takes a body of at most " + std::to_string(admission_.body_bytes_max) +
         " bytes, this one has " + bytes;
}

// Fills the request in, as far as its header goes. What is refused here is refused before the body
// is read.
std::optional<HttpReply> HttpSession::refused_by_header() {
  RequestHead head = read_request_head(parser_->get());
  head_only_ = head.request.is_head;
  body_expected_ = head.expects_continue;
  request_ = std::move(head.request);
  request_.who = peer_;
  if (head.refusal) return std::move(head.refusal);
  admission_ = server_->admit(request_);
  if (admission_.refusal) return std::move(admission_.refusal);
  request_.who = admission_.who;
  request_.token.clear();
  const auto announced = parser_->content_length();
  const size_t limit = admission_.body_bytes_max;
  if (announced && *announced > limit) {
    return error_reply(413, invalid(body_over_limit(std::to_string(*announced))));
  }
  parser_->body_limit(limit);  // of one that comes in chunks
  auto charge = std::make_shared<ByteBudget::Charge>(server_->budget, request_.who);
  const size_t kept_bytes =
      admission_.sink ? kBlockBytes + admission_.sink_bytes : announced.value_or(0);
  if (kept_bytes > 0) {
    if (const Status status = charge->grow(kept_bytes); !status.ok()) return error_reply(status);
  }
  parser_->get().body().charge_to(std::move(charge), admission_.sink ? 0 : kept_bytes);
  return std::nullopt;
}

void HttpSession::read_body() {
  if (admission_.sink) return pieces_.read();
  begin_time_limit(server_->options.body_max);
  http::async_read(stream_, buffer_, *parser_,
                   [self = shared_from_this()](beast::error_code error, size_t) {
                     self->guarded([&] { self->on_body(error); });
                   });
}

void HttpSession::on_body(beast::error_code error) {
  const bool late = end_time_limit();
  if (!error) return begin();
  if (!late && is_gone(error)) return;
  body_unread_ = true;
  if (error == http::error::body_limit) {
    return refuse(error_reply(413, invalid(body_over_limit("more"))));
  }
  if (late && error) {
    return refuse(
        error_reply(408, invalid("the " + std::string(admission_.sink ? "next piece of the " : "") +
                                 "request's body did not come within " +
                                 std::to_string(server_->options.body_max.count()) + " ms")));
  }
  if (const Status& status = parser_->get().body().failure(); !status.ok()) {
    return refuse(error_reply(status));
  }
  refuse(error_reply(invalid("not an HTTP request: " + error.message())));
}

void HttpSession::begin() {
  request_.body = std::make_shared<ReceivedBody>(std::move(parser_->get().body()));
  if (admission_.sink) request_.body->charge()->shrink_to(admission_.sink_bytes);
  watch_ = std::make_shared<PeerWatch>();
  request_.peer = watch_;
  set_answering(true);
  watch_peer();
  const auto answer = std::make_shared<PendingAnswer>(shared_from_this());
  const HttpReplier reply = [answer](HttpReply given) { answer->write(std::move(given)); };
  try {
    std::exchange(admission_.begin, nullptr)(request_, reply);
  } catch (const std::bad_alloc&) {
    log_error("api.out_of_memory", {{"at", "request"}});
    reply(error_reply(unavailable("parkd has no memory left for this request")));
  }
  admission_.sink.reset();
}

// A Unix socket whose peer has closed it reports an error condition; one whose peer only ended its
// sending (it may still read) does not. Over TCP the two look alike at first: watch_for_end().
void HttpSession::watch_peer() {
  stream_.socket().async_wait(Socket::wait_error,
                              [weak = weak_from_this()](beast::error_code error) {
                                const auto self = weak.lock();
                                if (!error && self != nullptr) self->on_peer_gone();
                              });
  if (peer_.by_tcp) watch_for_end();
}

// Waits until the peer sends no more. Its next request, sent ahead, lies in the socket until this
// one is answered, and would end each wait at once: then it is looked at every second.
void HttpSession::watch_for_end() {
  stream_.socket().async_wait(
      Socket::wait_read, [weak = weak_from_this()](beast::error_code error) {
        const auto self = weak.lock();
        if (error || self == nullptr || self->watch_ == nullptr) return;
        pollfd look{self->stream_.socket().native_handle(), POLLRDHUP, 0};
        if (::poll(&look, 1, 0) > 0) return self->on_peer_silent();
        self->time_limit_.expires_after(kLookEvery);
        self->time_limit_.async_wait([weak, n = ++self->n_limits_](beast::error_code cut) {
          const auto later = weak.lock();
          if (cut || later == nullptr || later->n_limits_ != n) return;
          if (later->watch_ != nullptr) later->watch_for_end();
        });
      });
}

// The end of what a TCP peer sends: it has closed the connection, or it reads on and may have its
// answer. To learn which it is sent something that every HTTP/1.1 client passes over (RFC 9110,
// 15.2), before the first byte of the answer: where the peer reads no more a reset comes back,
// which is the error condition that watch_peer() waits for.
void HttpSession::on_peer_silent() {
  if (streams_) return;  // the pieces that are written find out
  if (parser_->get().version() < 11) return guarded([this] { watch_->gone(); });
  const ssize_t sent = ::send(stream_.socket().native_handle(), kContinue.data(), kContinue.size(),
                              MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) guarded([this] { watch_->gone(); });
}

void HttpSession::on_peer_gone() {
  if (!answering_ || watch_ == nullptr) return;
  if (!peer_has_gone()) return watch_peer();
  guarded([this] { watch_->gone(); });
}

// Whether the condition that wait_error waits for is the peer's end. Else it is a byte of urgent
// data, which means nothing to HTTP: it is taken off, as it would end each further wait at once.
bool HttpSession::peer_has_gone() {
  pollfd look{stream_.socket().native_handle(), 0, 0};
  if (::poll(&look, 1, 0) > 0) return true;
  char urgent = 0;
  (void)::recv(look.fd, &urgent, 1, MSG_OOB | MSG_DONTWAIT);
  return false;
}

// It will not begin; what came of its body goes.
void HttpSession::let_go_of_request() {
  parser_->get().body() = {};
  admission_.begin = nullptr;
  admission_.sink.reset();
}

void HttpSession::refuse(HttpReply reply) {
  let_go_of_request();
  parser_->get().keep_alive(false);  // what follows on the connection cannot be trusted
  set_answering(true);
  write(std::move(reply));
}

void HttpSession::end_peer_watch() {
  if (watch_ == nullptr) return;
  (void)end_time_limit();
  beast::error_code ignored;
  stream_.socket().cancel(ignored);  // the waits for the peer's end
  std::exchange(watch_, nullptr)->forget();
}

void HttpSession::drop() {
  end_peer_watch();
  beast::error_code ignored;
  stream_.socket().close(ignored);
}

void HttpSession::begin_response(const HttpReply& reply) {
  response_ = {};
  response_.version(11);
  response_.result(static_cast<unsigned>(reply.status));
  ++server_->answered[{admission_.route, reply.status}];
  response_.set(http::field::server, "parkd");
  response_.set(http::field::content_type, reply.content_type);
  if (!reply.retry_after_s.empty()) response_.set(http::field::retry_after, reply.retry_after_s);
  if (!reply.allow.empty()) response_.set(http::field::allow, reply.allow);
  for (const auto& [name, value] : reply.more) response_.set(name, value);
  response_.keep_alive(parser_->get().keep_alive() && !server_->closing);
}

void HttpSession::write(HttpReply reply) {
  guarded([&] {
    request_.body.reset();
    if (reply.begin_stream && !head_only_) return write_stream(std::move(reply));
    end_peer_watch();
    if (Status status = charge_answer(reply); !status.ok()) reply = error_reply(status);
    begin_response(reply);
    // Of a HEAD's stream its length is said where a GET says it.
    if (!reply.begin_stream) response_.content_length(reply.body.size());
    if (reply.stream_bytes) response_.content_length(static_cast<uint64_t>(*reply.stream_bytes));
    response_head_ = text_of_head(response_);
    if (!head_only_) response_body_ = std::move(reply.body);
    write_all(std::array{asio::buffer(std::as_const(response_head_)),
                         asio::buffer(std::as_const(response_body_))},
              [self = shared_from_this()](beast::error_code error, size_t) {
                self->guarded([&] { self->written(error); });
              });
  });
}

// The header goes out with the first piece, or alone.
void HttpSession::write_stream(HttpReply reply) {
  using Framing = SessionStream::Framing;
  streams_ = true;
  begin_response(reply);
  const bool knows_chunks = parser_->get().version() >= 11;
  const Framing framing = reply.stream_bytes ? Framing::length
                          : knows_chunks     ? Framing::chunks
                                             : Framing::connection_end;
  const int64_t body_bytes = reply.stream_bytes.value_or(0);
  if (framing == Framing::length) response_.content_length(static_cast<uint64_t>(body_bytes));
  if (framing == Framing::chunks) response_.chunked(true);
  if (framing == Framing::connection_end) response_.keep_alive(false);
  reply.begin_stream(std::make_shared<SessionStream>(shared_from_this(), text_of_head(response_),
                                                     framing, body_bytes));
}

// A client that asks for much and reads nothing does not make the daemon hold it all. What was done
// by a POST is told, however much it is: it may be told once only.
Status HttpSession::charge_answer(const HttpReply& reply) {
  if (request_.method != "GET" || reply.body.size() <= kReadBytes) return {};
  answer_charge_.emplace(server_->answers, request_.who);
  return answer_charge_->grow(reply.body.size());
}

void HttpSession::written(beast::error_code error) {
  response_body_ = {};
  answer_charge_.reset();
  admission_.held.reset();
  set_answering(false);
  if (error) return;
  if (response_.keep_alive() && !server_->closing) return wait_for_request();
  stream_.socket().shutdown(Socket::shutdown_send, error);
  if (!body_unread_) return;
  // A client that is still sending would be reset, and might never read why it was refused.
  discard_until_ = std::chrono::steady_clock::now() + kDiscardTime;
  discard_rest();
}

void HttpSession::discard_rest() {
  if (std::chrono::steady_clock::now() > discard_until_) return;
  buffer_.clear();
  stream_.expires_after(kQuietTime);
  stream_.async_read_some(buffer_.prepare(kReadBytes),
                          [self = shared_from_this()](beast::error_code error, size_t) {
                            if (!error) self->guarded([&] { self->discard_rest(); });
                          });
}

}  // namespace parkd
