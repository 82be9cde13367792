// HttpWorld: an HttpServer on a socket of its own, with two made-up URLs: GET /ok, and
// POST /small, which takes a body of at most 100 bytes and gives it back.
// The control thread is a thread of the world.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <memory>
#include <string>
#include <utility>

#include "lib/base/thread.h"
#include "lib/http/http_server.h"
#include "tests/support/raw_peer.h"
#include "tests/support/temp_dir.h"

namespace parkd::testing {

class HttpWorld {
 public:
  explicit HttpWorld(HttpServer::Options options = {}) {
    options.socket_path = socket();
    server_ = std::make_unique<HttpServer>(io_, options, bodies_, answers_, admit);
    const Status listening = server_->listen();
    PARKD_CHECK(listening.ok(), listening.to_string());
    control_ = Thread({"control", 0}, [this] { io_.run(); });
  }
  ~HttpWorld() {
    io_.stop();
    control_.join();
  }

  std::string socket() const { return directory_.path() + "/s"; }
  RawPeer peer() const { return RawPeer(socket()); }
  ByteBudget::Figures bodies() const { return bodies_.figures(); }
  HttpFigures figures() {
    std::promise<HttpFigures> figures;
    boost::asio::post(io_, [&] { figures.set_value(server_->figures()); });
    return figures.get_future().get();
  }

 private:
  static HttpAdmission admit(const HttpRequest& request) {
    HttpAdmission admission;
    admission.who = request.who;
    admission.route = request.method + " " + request.path;
    if (request.method == "GET" && request.path == "/ok") {
      admission.begin = [](const HttpRequest&, const HttpReplier& reply) { reply({.body = "ok"}); };
    } else if (request.method == "POST" && request.path == "/small") {
      admission.body_bytes_max = 100;
      admission.body_limit_key = "some.key";
      admission.begin = [](const HttpRequest& whole, const HttpReplier& reply) {
        reply({.status = 201, .body = whole.body->take()});
      };
    } else {
      admission.route.clear();
      admission.refusal = error_reply(not_found("there is no " + request.path));
    }
    return admission;
  }

  TempDir directory_;
  ByteBudget bodies_{"requests that are being read", 1 << 20};
  ByteBudget answers_{"answers that nobody has read yet", 8 << 20};
  boost::asio::io_context io_;
  std::unique_ptr<HttpServer> server_;
  Thread control_;
};

}  // namespace parkd::testing
