// HttpServer: HTTP/1.1 on a Unix stream socket, and on TCP addresses where some are given. It reads
// requests, knows who the peer is, and writes answers; what they mean is the business of who admits
// them.
//
// Lives on the control thread's io_context and never blocks it. One request at a time a connection
// (a pipelined one waits in the socket). Requests are admitted and begun on the control thread; a
// Reply may be called once, from any thread, now or later; further calls do nothing. Bounds:
// connections, header, body, idle time.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/health.h"
#include "lib/base/status.h"
#include "lib/base/tcp_address.h"
#include "lib/http/body_sink.h"
#include "lib/http/byte_budget.h"
#include "lib/http/connections.h"
#include "lib/http/http_reply.h"
#include "lib/http/principal.h"
#include "lib/http/received_body.h"

namespace parkd {

// Whether the client of a request that is being answered is still there. Control thread.
class PeerWatch {
 public:
  // Calls `then` once if the client goes away before its answer is written; at once, if it has. It
  // is kept until then, or until the answer is written or the server gone.
  void when_gone(std::function<void()> then) {
    if (is_gone_) return then();
    then_ = std::move(then);
  }
  void gone() {
    is_gone_ = true;
    if (then_) std::exchange(then_, nullptr)();
  }
  void forget() { std::exchange(then_, nullptr); }

 private:
  bool is_gone_ = false;
  std::function<void()> then_;
};

struct HttpRequest {
  std::string method;                        // "GET"; of a HEAD too
  bool is_head = false;                      // only the answer's header is sent
  std::string path;                          // decoded, without the query
  std::map<std::string, std::string> query;  // decoded; the last of equal names
  std::shared_ptr<ReceivedBody> body;        // never null
  // Headers; empty when absent.
  std::string tenant;               // X-Parkd-Tenant
  std::string idempotency_key;      // Idempotency-Key
  std::string on_disconnect;        // X-Parkd-On-Disconnect
  std::string host;                 // Host
  std::string content_type;         // Content-Type
  std::string token;                // of "Authorization: Bearer"; gone once it was admitted
  std::string last_event_id;        // Last-Event-ID
  std::string range;                // Range, as it stands
  std::string origin;               // Origin: a browser's page asks, of there
  Principal who;                    // the connection's, then as it was admitted
  std::shared_ptr<PeerWatch> peer;  // never null once it has begun
};

using HttpReplier = std::function<void(HttpReply)>;

// What is decided about a request before its body is read.
struct HttpAdmission {
  std::optional<HttpReply> refusal;  // instead of reading on
  std::string route;                 // "POST /v1/jobs/ID/cancel"; empty: there is none
  Principal who;                     // as the request acts
  size_t body_bytes_max = 0;
  std::string_view body_limit_key;  // its key of the configuration, if any
  // Let go of when the request has been answered, or its connection has ended. Control thread.
  std::shared_ptr<void> held{};
  // Takes the body as it comes; then the request begins with an empty one. Null: it is kept.
  std::shared_ptr<BodySink> sink{};
  size_t sink_bytes = 0;  // that the sink holds of it: charged until the answer, beside a block
  std::function<void(HttpRequest, HttpReplier)> begin{};  // called with the body
};

struct HttpFigures {
  ConnectionFigures connections;
  std::map<std::pair<std::string, int>, int64_t> answered;  // by route and status
};

class HttpServer {
 public:
  using Admit = std::function<HttpAdmission(const HttpRequest&)>;  // the request has no body yet

  struct Options {
    std::string socket_path;
    uint32_t socket_mode = 0660;
    std::string socket_group;  // name or number; empty: the process's own
    std::vector<TcpAddress> tcp;
    int connections_max = 1024;
    std::chrono::milliseconds idle_max{75'000};    // between requests
    std::chrono::milliseconds header_max{10'000};  // from a request's first byte
    std::chrono::milliseconds body_max{60'000};    // of a BodySink's, each piece
    std::chrono::milliseconds write_max{60'000};   // in which the client takes nothing of an answer
  };

  // `bodies` is charged with bodies for as long as they are kept, `answers` with what GETs
  // are answered until their clients have read it.
  HttpServer(boost::asio::io_context& io, Options options, ByteBudget& bodies, ByteBudget& answers,
             Admit admit);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Takes over the socket file a dead daemon left. Errors: invalid or conflict, naming the path or
  // the TCP address.
  Status listen();
  // Of Options::tcp, with the ports that the kernel chose for 0; after listen().
  std::vector<TcpAddress> tcp_addresses() const;

  // Every second or so: makes the socket file again where it was removed, and says what is the
  // matter where it cannot (nothing where the file is in its place now). Open connections go on.
  std::optional<HealthNotice> look_after_socket();

  // No new connections; open ones are closed once their answer is written. Removes the socket file
  // if it is still ours.
  void close();

  // Requests whose answer is not written yet.
  int unanswered() const;
  HttpFigures figures() const;

  class State;  // shared with the sessions that are still answering

 private:
  std::shared_ptr<State> state_;
};

}  // namespace parkd
