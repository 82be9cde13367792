#include "daemon/api_server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/dispatch.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cstring>
#include <optional>
#include <set>

#include "lib/base/log.h"
#include "lib/job/completion_response.h"

namespace parkd {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Unix = asio::local::stream_protocol;

namespace {

constexpr auto kIdleTimeout = std::chrono::seconds(75);  // between requests, and for reading one
constexpr auto kWriteTimeout = std::chrono::seconds(60);
constexpr uint32_t kHeaderBytesMax = 16 * 1024;

uid_t peer_of(Unix::socket& socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return static_cast<uid_t>(-1);  // nobody: has no privileges
  }
  return credentials.uid;
}

bool read_query(std::string_view text, std::map<std::string, std::string>& query) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('&'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    std::string name;
    std::string value;
    if (!url_decode(pair.substr(0, equals), name)) return false;
    if (!url_decode(pair.substr(std::min(equals + 1, pair.size())), value)) return false;
    query[name] = value;
  }
  return true;
}

}  // namespace

bool url_decode(std::string_view text, std::string& out) {
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  out.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) return false;
    out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
    i += 2;
  }
  return true;
}

class ApiServer::State : public std::enable_shared_from_this<ApiServer::State> {
 public:
  State(asio::io_context& context, Options given, Handler to)
      : io(context), options(std::move(given)), handler(std::move(to)), acceptor_(context) {}

  Status listen();
  void close();

  asio::io_context& io;
  const Options options;
  const Handler handler;
  bool closing = false;
  int connections = 0;
  int unanswered = 0;

 private:
  void accept();

  Unix::acceptor acceptor_;
};

// One connection: read, handle, write, again. Keeps itself alive through its pending operation.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<ApiServer::State> server, Unix::socket socket);
  ~Session();
  void start() { read(); }
  void write(ApiReply reply);
  asio::io_context& io() const { return server_->io; }

 private:
  void read();
  void handle(beast::error_code error);
  void refuse(const Status& why, int status);
  void written(beast::error_code error, bool keep);
  void set_answering(bool answering);

  std::shared_ptr<ApiServer::State> server_;
  const uid_t peer_uid_;
  bool answering_ = false;  // a request was read and its answer is not written
  beast::basic_stream<Unix> stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

// What a Reply holds: it may be called and let go of on any thread, the session only on the control
// thread.
class PendingAnswer {
 public:
  explicit PendingAnswer(std::shared_ptr<Session> session) : session_(std::move(session)) {}
  ~PendingAnswer() {
    asio::io_context& io = session_->io();
    asio::post(io, [session = std::move(session_)] {});
  }
  PendingAnswer(const PendingAnswer&) = delete;
  PendingAnswer& operator=(const PendingAnswer&) = delete;

  void write(ApiReply reply) {
    asio::dispatch(session_->io(), [session = session_, reply = std::move(reply)]() mutable {
      session->write(std::move(reply));
    });
  }

 private:
  std::shared_ptr<Session> session_;
};

Session::Session(std::shared_ptr<ApiServer::State> server, Unix::socket socket)
    : server_(std::move(server)), peer_uid_(peer_of(socket)), stream_(std::move(socket)) {
  ++server_->connections;
}

Session::~Session() {
  set_answering(false);
  --server_->connections;
}

void Session::set_answering(bool answering) {
  if (answering == answering_) return;
  answering_ = answering;
  server_->unanswered += answering ? 1 : -1;
}

void Session::read() {
  parser_.emplace();
  parser_->header_limit(kHeaderBytesMax);
  parser_->body_limit(server_->options.request_bytes_max);
  stream_.expires_after(kIdleTimeout);
  http::async_read(
      stream_, buffer_, *parser_,
      [self = shared_from_this()](beast::error_code error, size_t) { self->handle(error); });
}

void Session::handle(beast::error_code error) {
  stream_.expires_never();
  if (error == http::error::body_limit) {
    return refuse(invalid("the request's body is over the limit of " +
                          std::to_string(server_->options.request_bytes_max) +
                          " bytes (daemon.max_request_bytes)"),
                  413);
  }
  if (error == http::error::end_of_stream || error == beast::error::timeout ||
      error == asio::error::operation_aborted || error == asio::error::connection_reset ||
      error == http::error::partial_message) {
    return;
  }
  if (error) return refuse(invalid("not an HTTP request: " + error.message()), 400);

  const auto& message = parser_->get();
  ApiRequest request;
  request.method = std::string(message.method_string());
  const std::string target(message.target());
  const size_t question = std::min(target.find('?'), target.size());
  const bool sound =
      url_decode(std::string_view(target).substr(0, question), request.path) &&
      read_query(std::string_view(target).substr(std::min(question + 1, target.size())),
                 request.query);
  if (!sound) return refuse(invalid("broken %-escape in the URL"), 400);
  if (const auto found = message.find("X-Parkd-Tenant"); found != message.end()) {
    request.tenant = std::string(found->value());
  }
  request.peer_uid = peer_uid_;
  set_answering(true);
  request.body = std::move(parser_->get().body());
  server_->handler(std::move(request),
                   [answer = std::make_shared<PendingAnswer>(shared_from_this())](ApiReply reply) {
                     answer->write(std::move(reply));
                   });
}

void Session::refuse(const Status& why, int status) {
  parser_->get().keep_alive(false);  // what follows on the connection cannot be trusted
  ApiReply reply;
  reply.status = status;
  reply.body = render_error(status, "invalid_request", why.message(), "");
  write(std::move(reply));
}

void Session::write(ApiReply reply) {
  const bool keep = parser_->get().keep_alive() && !server_->closing;
  response_ = {};
  response_.version(11);
  response_.result(static_cast<unsigned>(reply.status));
  response_.set(http::field::server, "parkd");
  response_.set(http::field::content_type, reply.content_type);
  if (!reply.retry_after_s.empty()) response_.set(http::field::retry_after, reply.retry_after_s);
  response_.keep_alive(keep);
  response_.body() = std::move(reply.body);
  response_.prepare_payload();
  stream_.expires_after(kWriteTimeout);
  http::async_write(stream_, response_,
                    [self = shared_from_this(), keep](beast::error_code error, size_t) {
                      self->written(error, keep);
                    });
}

void Session::written(beast::error_code error, bool keep) {
  set_answering(false);
  if (error) return;
  if (keep && !server_->closing) return read();
  stream_.socket().shutdown(Unix::socket::shutdown_send, error);
}

Status ApiServer::State::listen() {
  const std::string& path = options.socket_path;
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return invalid_param("daemon.socket", "the socket's path " + path + " has " +
                                              std::to_string(path.size()) +
                                              " bytes, the limit is 107");
  }
  const Unix::endpoint endpoint(path);
  beast::error_code error;
  acceptor_.open(endpoint.protocol(), error);
  if (error) return invalid("cannot make a socket: " + error.message());
  ::unlink(path.c_str());               // a dead daemon's: the instance lock says that nobody lives
  const mode_t before = ::umask(0177);  // nobody else until the mode is set
  acceptor_.bind(endpoint, error);
  ::umask(before);
  if (error) return invalid("cannot bind socket " + path + ": " + error.message());
  if (::chmod(path.c_str(), options.socket_mode) != 0) {
    return invalid("cannot set the mode of socket " + path + ": " + std::strerror(errno));
  }
  acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return invalid("cannot listen on socket " + path + ": " + error.message());
  accept();
  return {};
}

void ApiServer::State::accept() {
  acceptor_.async_accept([self = shared_from_this()](beast::error_code error, Unix::socket socket) {
    if (self->closing) return;
    if (error) {
      // Out of descriptors, most likely: wait for some to come back instead of spinning.
      log_warn("api.accept_failed", {{"error", error.message()}});
      auto timer = std::make_shared<asio::steady_timer>(self->io, std::chrono::milliseconds(200));
      timer->async_wait([self, timer](beast::error_code) {
        if (!self->closing) self->accept();
      });
      return;
    }
    if (self->connections < self->options.connections_max) {
      std::make_shared<Session>(self, std::move(socket))->start();
    } else {
      log_warn("api.too_many_connections", {{"limit", self->options.connections_max}});
    }
    self->accept();
  });
}

void ApiServer::State::close() {
  if (closing) return;
  closing = true;
  beast::error_code ignored;
  acceptor_.close(ignored);
  ::unlink(options.socket_path.c_str());
}

ApiServer::ApiServer(asio::io_context& io, Options options, Handler handler)
    : state_(std::make_shared<State>(io, std::move(options), std::move(handler))) {}
ApiServer::~ApiServer() {
  close();
}
Status ApiServer::listen() {
  return state_->listen();
}
void ApiServer::close() {
  state_->close();
}
int ApiServer::unanswered() const {
  return state_->unanswered;
}

}  // namespace parkd
