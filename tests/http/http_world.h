// HttpWorld: an HttpServer on a socket of its own, and on TCP where the options say so, with
// made-up URLs: GET /ok; POST /small, which takes a body of at most 100 bytes and gives it back;
// GET /wait, which is answered when the test says so; GET /stream?bytes=, whose body the test
// writes; and what the test admits itself. The control thread is a thread of the world.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <ctime>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "lib/base/thread.h"
#include "lib/http/http_server.h"
#include "tests/support/raw_peer.h"
#include "tests/support/temp_dir.h"

namespace parkd::testing {

class HttpWorld {
 public:
  // `more` admits what the world has no URL for.
  explicit HttpWorld(HttpServer::Options options = {}, HttpServer::Admit more = {})
      : more_(std::move(more)) {
    options.socket_path = socket();
    server_ =
        std::make_unique<HttpServer>(io_, options, bodies_, answers_,
                                     [this](const HttpRequest& request) { return admit(request); });
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
  // By TCP, to Options::tcp[i].
  RawPeer tcp_peer(size_t i) const {
    const TcpAddress address = server_->tcp_addresses()[i];
    return RawPeer(address.port, address.is_v6());
  }
  // Of GET /wait.
  void wait_for_a_waiter() const {
    while (!waiting_) std::this_thread::yield();
  }
  bool waiter_is_gone() const { return gone_; }
  void answer_waiter() {
    boost::asio::post(io_, [this] { std::exchange(waiter_, nullptr)({.body = "at last"}); });
  }
  // Of GET /stream, once it has begun: what `use` does with it, on the control thread.
  template <class Use>
  auto with_stream(Use use) {
    while (!streaming_) std::this_thread::yield();
    return on_control([this, use] { return use(stream_); });
  }
  bool streamer_is_gone() const { return streamer_gone_; }
  bool is_streaming() const { return streaming_; }
  void forget_the_stream() {
    streaming_ = false;
    streamer_gone_ = false;
  }
  // How much of a CPU this process takes while it waits for half a second.
  static double idle_cpu() {
    const std::clock_t before = std::clock();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    return static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC / 0.5;
  }
  ByteBudget::Figures bodies() const { return bodies_.figures(); }
  ByteBudget::Figures answers() const { return answers_.figures(); }
  HttpFigures figures() {
    return on_control([this] { return server_->figures(); });
  }
  // Whether something still holds what GET /wait was admitted with.
  bool waiter_is_held() {
    return on_control([this] { return !held_.expired(); });
  }

  template <class Ask>
  std::invoke_result_t<Ask> on_control(Ask ask) {
    std::promise<std::invoke_result_t<Ask>> answer;
    boost::asio::post(io_, [&] { answer.set_value(ask()); });
    return answer.get_future().get();
  }

 private:
  HttpAdmission admit(const HttpRequest& request) {
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
    } else if (request.method == "GET" && request.path == "/wait") {
      admission.held = std::make_shared<int>();
      held_ = admission.held;
      admission.begin = [this](const HttpRequest& whole, const HttpReplier& reply) {
        waiter_ = reply;
        waiting_ = true;
        whole.peer->when_gone([this] {
          gone_ = true;
          waiter_ = nullptr;
        });
      };
    } else if (request.method == "GET" && request.path == "/stream") {
      admission.begin = [this](const HttpRequest& whole, const HttpReplier& reply) {
        whole.peer->when_gone([this] { streamer_gone_ = true; });
        HttpReply begun;
        begun.content_type = "text/event-stream";
        if (const auto bytes = whole.query.find("bytes"); bytes != whole.query.end()) {
          begun.stream_bytes = std::stoll(bytes->second);
        }
        begun.begin_stream = [this](std::shared_ptr<HttpStream> stream) {
          stream_ = std::move(stream);
          streaming_ = true;
        };
        reply(std::move(begun));
      };
    } else if (more_) {
      return more_(request);
    } else {
      admission.route.clear();
      admission.refusal = error_reply(not_found("there is no " + request.path));
    }
    return admission;
  }

  const HttpServer::Admit more_;
  TempDir directory_;
  ByteBudget bodies_{"requests that are being read", 1 << 20};
  ByteBudget answers_{"answers that nobody has read yet", 32 << 20};
  boost::asio::io_context io_;
  std::unique_ptr<HttpServer> server_;
  HttpReplier waiter_;                  // control thread
  std::weak_ptr<void> held_;            // of GET /wait; control thread
  std::shared_ptr<HttpStream> stream_;  // of GET /stream; control thread
  std::atomic<bool> streaming_{false};
  std::atomic<bool> streamer_gone_{false};
  std::atomic<bool> waiting_{false};
  std::atomic<bool> gone_{false};
  Thread control_;
};

}  // namespace parkd::testing
