#include "lib/http/http_server.h"

#include <sys/socket.h>

#include <new>

#include "lib/base/log.h"
#include "lib/http/http_session.h"
#include "lib/http/tcp_socket.h"

namespace parkd {

namespace asio = boost::asio;
namespace beast = boost::beast;

namespace {

constexpr int kLastWordsMax = 64;  // refused connections that are let down gently, at a time
constexpr auto kLastWordTime = std::chrono::seconds(2);
constexpr auto kRefusalLogEvery = std::chrono::seconds(10);
// A daemon that is being killed lets its lock go a moment before its socket.
constexpr auto kDyingDaemonPatience = std::chrono::seconds(2);

Principal peer_of(asio::local::stream_protocol::socket& socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return unix_peer(static_cast<uid_t>(-1));
  }
  return unix_peer(credentials.uid);
}

}  // namespace

Status HttpServer::State::listen() {
  PARKD_RETURN_IF_ERROR(listen_on_file(kDyingDaemonPatience));
  for (const TcpAddress& address : options.tcp) PARKD_RETURN_IF_ERROR(listen_on(address));
  return {};
}

Status HttpServer::State::listen_on_file(std::chrono::milliseconds patience) {
  PARKD_ASSIGN_OR_RETURN(const int fd, file_.listen(patience));
  // Who has connected to the old socket and was not accepted yet comes in first.
  if (on_file_ != nullptr) on_file_->finish();
  on_file_ = std::make_shared<AcceptLoop<Unix>>(io, [weak = weak_from_this()](Unix::socket socket) {
    const auto self = weak.lock();
    if (self == nullptr) return;
    const Principal peer = peer_of(socket);
    self->take_in(Socket(std::move(socket)), peer);
  });
  const Status started = on_file_->start(Unix(), fd);
  if (started.ok()) return {};
  return invalid("cannot listen on socket " + file_.path() + ": " + started.message());
}

Status HttpServer::State::listen_on(const TcpAddress& address) {
  PARKD_ASSIGN_OR_RETURN(const int fd, listen_tcp(address));
  const auto loop =
      std::make_shared<AcceptLoop<Tcp>>(io, [weak = weak_from_this()](Tcp::socket socket) {
        const auto self = weak.lock();
        beast::error_code gone;
        const Tcp::endpoint from = socket.remote_endpoint(gone);
        if (self == nullptr || gone) return;
        keep_tcp_connection(socket.native_handle());
        self->take_in(Socket(std::move(socket)), tcp_peer(from.address().to_string()));
      });
  PARKD_RETURN_IF_ERROR(loop->start(address.is_v6() ? Tcp::v6() : Tcp::v4(), fd));
  on_tcp_.push_back(loop);
  tcp_addresses_.push_back(bound_address(fd));
  log_info("api.listening", {{"address", tcp_addresses_.back().to_string()}});
  return {};
}

std::optional<HealthNotice> HttpServer::State::look_after_socket() {
  if (closing) return std::nullopt;
  const SocketFile::Place place = file_.look();
  if (place == SocketFile::Place::ours) return std::nullopt;
  std::string what;
  if (place == SocketFile::Place::free) {
    const Status made = listen_again();
    if (made.ok()) return std::nullopt;
    what = "was removed and cannot be made again (" + made.message() + ")";
  } else if (place == SocketFile::Place::anothers) {
    what = "belongs to another process now: stop that, and this daemon makes its own again";
  } else {
    what = "is not a socket any more: move it away, and this daemon makes its own again";
  }
  return HealthNotice{"socket_gone",
                      "the socket " + file_.path() + " " + what +
                          ". Until then nobody new can connect; what is connected, and jobs, go on",
                      false};
}

Status HttpServer::State::listen_again() {
  PARKD_RETURN_IF_ERROR(listen_on_file(std::chrono::milliseconds(0)));
  log_warn("api.socket_made_again", {{"socket", file_.path()}});
  return {};
}

void HttpServer::State::take_in(Socket socket, const Principal& peer) {
  if (const Status status = connections.enter(peer); !status.ok()) {
    return turn_away(std::move(socket), status);
  }
  std::make_shared<HttpSession>(shared_from_this(), std::move(socket), peer)->start();
}

// A 503 that says why: into the socket's buffer, which is empty, so this does not wait. The socket
// stays a moment, so that a client that is still writing its request reads the answer and no reset.
void HttpServer::State::turn_away(Socket socket, const Status& why) {
  const auto now = std::chrono::steady_clock::now();
  if (now - refusal_logged_ > kRefusalLogEvery) {
    refusal_logged_ = now;
    log_warn("api.too_many_connections",
             {{"reason", why.message()}, {"refused_so_far", connections.figures().refused}});
  }
  const HttpReply reply = error_reply(why);
  const std::string text =
      "HTTP/1.1 503 Service Unavailable\r\nServer: parkd\r\nContent-Type: application/json\r\n"
      "Connection: close\r\nRetry-After: " +
      reply.retry_after_s + "\r\nContent-Length: " + std::to_string(reply.body.size()) +
      "\r\n\r\n" + reply.body;
  (void)::send(socket.native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  beast::error_code ignored;
  socket.shutdown(Socket::shutdown_send, ignored);
  if (last_words_ == kLastWordsMax) return;
  ++last_words_;
  struct LastWord {
    Socket socket;
    asio::steady_timer timer;
  };
  const auto word = std::make_shared<LastWord>(
      LastWord{std::move(socket), asio::steady_timer(io, kLastWordTime)});
  word->timer.async_wait([self = shared_from_this(), word](beast::error_code) {
    beast::error_code unused;
    word->socket.close(unused);
    --self->last_words_;
  });
  word->socket.async_wait(Socket::wait_error, [word](beast::error_code) { word->timer.cancel(); });
}

void HttpServer::State::close() {
  if (closing) return;
  closing = true;
  file_.remove();
  if (on_file_ != nullptr) on_file_->close();
  for (const auto& loop : on_tcp_) loop->close();
}

HttpServer::State::State(asio::io_context& context, Options given, ByteBudget& of_bodies,
                         ByteBudget& of_answers, Admit may)
    : io(context),
      options(std::move(given)),
      budget(of_bodies),
      answers(of_answers),
      admit(std::move(may)),
      connections(options.connections_max),
      file_(options.socket_path, options.socket_mode, options.socket_group) {}

HttpServer::HttpServer(asio::io_context& io, Options options, ByteBudget& bodies,
                       ByteBudget& answers, Admit admit)
    : state_(std::make_shared<State>(io, std::move(options), bodies, answers, std::move(admit))) {}
HttpServer::~HttpServer() {
  close();
  // A stream that is under way holds its session, which holds who writes to the stream.
  std::vector<std::shared_ptr<HttpSession>> left;
  for (HttpSession* session : state_->sessions) left.push_back(session->shared_from_this());
  for (const auto& session : left) session->drop();
}
Status HttpServer::listen() {
  return state_->listen();
}
std::vector<TcpAddress> HttpServer::tcp_addresses() const {
  return state_->tcp_addresses();
}
std::optional<HealthNotice> HttpServer::look_after_socket() {
  return state_->look_after_socket();
}
void HttpServer::close() {
  state_->close();
}
int HttpServer::unanswered() const {
  return state_->unanswered;
}
HttpFigures HttpServer::figures() const {
  return {state_->connections.figures(), state_->answered};
}

}  // namespace parkd
