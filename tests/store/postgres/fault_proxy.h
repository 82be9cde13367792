// Proxy: a loopback TCP port in front of the server's Unix socket that delays, goes silent, resets,
// and cuts a connection at a chosen point of a chosen statement.
//
// It understands as much of the frontend protocol (PostgreSQL manual, chapter 55) as it needs to
// see where a request ends and what it is: the name of a prepared statement, or the first word of
// a simple query. Own thread; every method may be called from any other. Tests alone.
#pragma once

#include <atomic>
#include <chrono>
#include <list>
#include <mutex>
#include <optional>
#include <string>

#include "lib/base/thread.h"

namespace parkd {

class Proxy {
 public:
  // Where a request is cut.
  enum class Cut {
    unsent,      // the server never sees the end of the request: certainly not committed
    in_flight,   // it has the request and nobody waits for the answer: may be committed or not
    unanswered,  // it has answered and the answer is thrown away: certainly committed
    unheard,     // the request is swallowed, and the connection stays open and silent
  };

  // `server_socket`: the path of the server's Unix socket. Throws when there is no port.
  explicit Proxy(std::string server_socket);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  // Keywords that lead through the proxy.
  std::string dsn(const std::string& database) const;

  // Every piece of data is held for this long, each way.
  void delay(std::chrono::milliseconds time) { delay_ms_ = time.count(); }
  // Connections that exist now become half-open: nothing is forwarded, nothing is closed. New ones
  // work.
  void silence();
  // Resets every connection (RST to the client), silenced ones too.
  void reset();
  // The next `n` requests of this name are cut; "" is any request once the session is set up (which
  // SET and LISTEN do: those by name alone).
  void cut(const std::string& request, Cut where, int n);
  // How many of them were, since the start.
  int n_cut() const { return n_cut_; }

 private:
  struct Piece {
    std::chrono::steady_clock::time_point due;
    std::string bytes;
  };
  struct Link {
    int client = -1;
    int server = -1;
    bool silent = false;
    bool started = false;  // the startup message has passed
    std::string request;   // bytes of a message that is not complete
    std::string name;      // of the request being read
    std::optional<Cut> being_cut;
    std::string answer_tail;  // the last bytes of the answer that is thrown away
    std::list<Piece> to_server;
    std::list<Piece> to_client;
  };
  struct Order {
    std::string request;
    Cut where;
    int n;
  };

  void run();
  void accept_one();
  // False: the link is to be closed.
  bool serve(Link& link, short client_events, short server_events);
  bool from_client(Link& link);
  bool from_server(Link& link);
  void look_at(Link& link, char type, const std::string& body);
  std::optional<Cut> order_for(const std::string& request);
  static bool flush(std::list<Piece>& pieces, int to);
  static void close_hard(Link& link);

  const std::string server_socket_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int64_t> delay_ms_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> silence_now_{false};
  std::atomic<bool> reset_now_{false};
  std::atomic<int> n_cut_{0};
  std::mutex mutex_;  // guards orders_
  std::list<Order> orders_;
  std::list<Link> links_;  // the thread's
  Thread thread_;
};

}  // namespace parkd
