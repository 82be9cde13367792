// ApiServer: HTTP/1.1 on a Unix stream socket. It reads requests, knows who the peer is, and writes
// answers; what they mean is the handler's business.
//
// Lives on the control thread's io_context and never blocks it. One request at a time a connection
// (a pipelined one waits in the socket). The handler is called on the control thread; its Reply may
// be called once, from any thread, now or later. Bounds: connections, header, body, idle time.
#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "lib/base/status.h"

namespace parkd {

struct ApiRequest {
  std::string method;                        // "GET"
  std::string path;                          // decoded, without the query
  std::map<std::string, std::string> query;  // decoded; the last of equal names
  std::string body;
  std::string tenant;  // X-Parkd-Tenant; empty when absent
  uid_t peer_uid = 0;  // from the kernel (SO_PEERCRED)
};

struct ApiReply {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  std::string retry_after_s{};  // header Retry-After; empty: none
};

class ApiServer {
 public:
  using Reply = std::function<void(ApiReply)>;
  using Handler = std::function<void(ApiRequest, Reply)>;

  struct Options {
    std::string socket_path;
    uint32_t socket_mode = 0660;
    size_t request_bytes_max = 0;  // of a body
    int connections_max = 1024;
  };

  ApiServer(boost::asio::io_context& io, Options options, Handler handler);
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  // Takes over the socket file a dead daemon left (the caller holds the instance lock). Errors:
  // invalid, naming the path.
  Status listen();

  // No new connections; open ones are closed once their answer is written. Removes the socket file.
  void close();

  // Requests whose answer is not written yet.
  int unanswered() const;

  class State;  // shared with the sessions that are still answering

 private:
  std::shared_ptr<State> state_;
};

// "%2F" decoded; nothing when the escapes are broken.
bool url_decode(std::string_view text, std::string& out);

}  // namespace parkd
