// HttpSession: one connection of the API: read a request, have it answered, write, again.
// HttpServer makes it; its pending operation, or the answer that is still to come, keeps it alive.
//
// Control thread. It bounds what a peer can make it hold and for how long: the header in bytes and
// seconds, the body by its route and the process's ByteBudget, the idle time, the time to write.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/http/accept_loop.h"
#include "lib/http/http_server.h"
#include "lib/http/piece_reader.h"
#include "lib/http/received_body.h"
#include "lib/http/socket_file.h"

namespace parkd {

class HttpSession;

constexpr size_t kWriteBytes = 64 << 10;  // at a time

// What the connections of a server share.
class HttpServer::State : public std::enable_shared_from_this<HttpServer::State> {
 public:
  using Unix = boost::asio::local::stream_protocol;
  using Tcp = boost::asio::ip::tcp;
  using Socket = boost::asio::generic::stream_protocol::socket;  // of either kind

  State(boost::asio::io_context& context, Options given, ByteBudget& of_bodies,
        ByteBudget& of_answers, Admit may);

  Status listen();
  const std::vector<TcpAddress>& tcp_addresses() const { return tcp_addresses_; }
  std::optional<HealthNotice> look_after_socket();
  void close();

  boost::asio::io_context& io;
  const Options options;
  ByteBudget& budget;   // of bodies
  ByteBudget& answers;  // that are not written yet
  const Admit admit;
  Connections connections;
  bool closing = false;
  int unanswered = 0;
  std::set<HttpSession*> sessions;                          // all that there are
  std::map<std::pair<std::string, int>, int64_t> answered;  // HttpFigures

 private:
  Status listen_on_file(std::chrono::milliseconds patience);
  Status listen_on(const TcpAddress& address);
  Status listen_again();
  void take_in(Socket socket, const Principal& peer);
  void turn_away(Socket socket, const Status& why);

  SocketFile file_;
  std::shared_ptr<AcceptLoop<Unix>> on_file_;
  std::vector<std::shared_ptr<AcceptLoop<Tcp>>> on_tcp_;
  std::vector<TcpAddress> tcp_addresses_;  // of on_tcp_
  int last_words_ = 0;                     // refused connections that may still read why
  std::chrono::steady_clock::time_point refusal_logged_{};
};

// Beast's name for it.
struct ReceivedBodyType {
  using value_type = ReceivedBody;

  class reader {  // NOLINT(readability-identifier-naming)
   public:
    template <bool is_request, class Fields>
    reader(boost::beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<std::uint64_t>&, boost::beast::error_code& error) {
      error = {};
    }
    template <class Buffers>
    size_t put(const Buffers& buffers, boost::beast::error_code& error) {
      size_t n = 0;
      for (const auto buffer : boost::beast::buffers_range_ref(buffers)) {
        const Status status = body_.append(static_cast<const char*>(buffer.data()), buffer.size());
        if (!status.ok()) {
          body_.fail(status);
          error = boost::system::errc::make_error_code(boost::system::errc::not_enough_memory);
          return n;
        }
        n += buffer.size();
      }
      error = {};
      return n;
    }
    void finish(boost::beast::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};

class SessionStream;

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  using Socket = HttpServer::State::Socket;

  HttpSession(std::shared_ptr<HttpServer::State> server, Socket socket, Principal peer);
  ~HttpSession();

  void start();
  void write(HttpReply reply);
  // The server goes: the connection is closed, and who waits for the peer's end is let go of.
  void drop();
  boost::asio::io_context& io() const;

 private:
  friend class PieceReader;
  friend class SessionStream;

  // Runs a step; where memory ends in it, the connection does too.
  template <class Step>
  void guarded(Step&& step) {
    try {
      step();
    } catch (const std::bad_alloc&) {
      end_without_memory();
    }
  }
  void end_without_memory();

  void begin_time_limit(std::chrono::milliseconds limit);
  bool end_time_limit();
  void wait_for_request();
  void read_header();
  void on_header(boost::beast::error_code error);
  std::optional<HttpReply> refused_by_header();
  std::string body_over_limit(const std::string& bytes) const;
  void read_body();
  void on_body(boost::beast::error_code error);
  void begin();
  void watch_peer();
  void watch_for_end();
  void on_peer_gone();
  bool peer_has_gone();
  void on_peer_silent();
  void refuse(HttpReply reply);
  void let_go_of_request();
  void begin_response(const HttpReply& reply);
  void end_peer_watch();
  void write_stream(HttpReply reply);
  Status charge_answer(const HttpReply& reply);
  void written(boost::beast::error_code error);
  template <class Buffers, class Done>
  void write_all(const Buffers& buffers, Done done);
  void discard_rest();
  void set_answering(bool answering);

  std::shared_ptr<HttpServer::State> server_;
  const Principal peer_;
  bool answering_ = false;      // a request was read and its answer is not written
  bool body_unread_ = false;    // refused before its body had come
  bool head_only_ = false;      // HEAD: the answer has no body
  bool streams_ = false;        // the answer's body comes in pieces
  bool body_expected_ = false;  // "Expect: 100-continue"
  HttpAdmission admission_;     // of the request that is read or answered
  std::chrono::steady_clock::time_point discard_until_{};
  std::shared_ptr<PeerWatch> watch_;  // of the request that is being answered
  boost::beast::basic_stream<boost::asio::generic::stream_protocol> stream_;
  boost::asio::steady_timer time_limit_;  // of a header or a body, and watch_for_end()'s
  uint64_t n_limits_ = 0;                 // begun and ended
  bool late_ = false;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<ReceivedBodyType>> parser_;
  PieceReader pieces_{*this};  // of a body that a sink takes
  HttpRequest request_;
  std::optional<ByteBudget::Charge> answer_charge_;
  boost::beast::http::response<boost::beast::http::empty_body> response_;
  std::string response_head_;  // of response_, as it is written
  std::string response_body_;
};

// Writes all of it, however long that takes, while the peer takes something in each write_max.
template <class Buffers, class Done>
void HttpSession::write_all(const Buffers& buffers, Done done) {
  const auto write_more = [this](boost::beast::error_code error, size_t) {
    if (error) return size_t{0};
    stream_.expires_after(server_->options.write_max);
    return kWriteBytes;
  };
  boost::asio::async_write(stream_, buffers, write_more, std::move(done));
}

}  // namespace parkd
