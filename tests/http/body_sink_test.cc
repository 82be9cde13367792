// Bodies that are taken as they come: pieces, clients that send nothing, much or go away, sinks
// that take their time.
#include "lib/http/body_sink.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/http/http_world.h"

namespace parkd::testing {
namespace {

constexpr size_t kLimit = 32 << 20;

// An HttpWorld with POST /upload, whose body goes into a sink: what came of it, on its control
// thread but for the functions that say otherwise.
class UploadWorld {
 public:
  explicit UploadWorld(bool takes_all, HttpServer::Options options = {})
      : takes_all_(takes_all),
        world_(std::move(options), [this](const HttpRequest& request) { return admit(request); }) {}

  HttpWorld& http() { return world_; }
  // What `use` says of this, on the control thread. Any thread.
  template <class Use>
  auto ask(Use use) {
    return world_.on_control([&] { return use(*this); });
  }
  void wait_for(const std::function<bool(UploadWorld&)>& holds) {
    while (!ask(holds)) std::this_thread::yield();
  }
  void wait_for_pieces(size_t n) {
    wait_for([n](UploadWorld& self) { return self.pieces.size() >= n; });
  }
  void wait_until_let_go() {
    wait_for([](UploadWorld& self) { return self.sink_ == nullptr; });
    EXPECT_FALSE(ask([](UploadWorld& self) { return self.has_begun; }));
  }
  // Calls what the sink was given with its last piece, which it keeps.
  void go_on(std::optional<HttpReply> reply = {}) {
    ask([&](UploadWorld& self) {
      self.sink_->next(std::move(reply));
      return true;
    });
  }
  BodySink::Next next() {
    return ask([](UploadWorld& self) { return self.sink_->next; });
  }
  void forget_next() {
    ask([](UploadWorld& self) {
      self.sink_->next = nullptr;
      return true;
    });
  }
  std::string body() {
    return ask([](UploadWorld& self) {
      std::string all;
      for (const std::string& piece : self.pieces) all += piece;
      return all;
    });
  }

  std::vector<std::string> pieces;
  bool has_begun = false;
  size_t begun_with_bytes = 0;
  size_t sink_bytes = 0;
  // Instead of being called by the test or at once.
  std::function<void(BodySink::Next)> takes;

 private:
  class Sink : public BodySink {
   public:
    explicit Sink(UploadWorld& world) : world_(world) { world_.sink_ = this; }
    ~Sink() override { world_.sink_ = nullptr; }
    void take(std::string piece, Next go_on) override {
      world_.pieces.push_back(std::move(piece));
      if (world_.takes) return world_.takes(std::move(go_on));
      if (world_.takes_all_) return go_on(std::nullopt);
      next = std::move(go_on);
    }
    Next next;

   private:
    UploadWorld& world_;
  };

  HttpAdmission admit(const HttpRequest& request) {
    HttpAdmission admission;
    admission.who = request.who;
    admission.route = "POST /upload";
    admission.body_bytes_max = kLimit;
    admission.sink = std::make_shared<Sink>(*this);
    admission.sink_bytes = sink_bytes;
    admission.begin = [this](const HttpRequest& whole, const HttpReplier& reply) {
      EXPECT_NE(sink_, nullptr) << "it is there until the request has begun";
      has_begun = true;
      begun_with_bytes = whole.body->size();
      EXPECT_EQ(world_.bodies().used_bytes, sink_bytes);
      reply({.status = 201, .body = "all"});
    };
    return admission;
  }

  const bool takes_all_;
  Sink* sink_ = nullptr;
  HttpWorld world_;  // last: its thread uses the others
};

std::string random_bytes(size_t n, std::mt19937_64& random) {
  std::string bytes(n, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::string chunk(std::string_view bytes) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  return size + std::string(bytes) + "\r\n";
}

const std::string kChunked =
    "POST /upload HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n";

void expect_full_pieces(UploadWorld& world) {
  world.ask([](UploadWorld& self) {
    for (size_t i = 0; i < self.pieces.size(); ++i) {
      EXPECT_LE(self.pieces[i].size(), kBlockBytes);
      EXPECT_GE(self.pieces[i].size(), i + 1 < self.pieces.size() ? kBlockBytes / 2 : 1);
    }
    return true;
  });
}

TEST(BodySink, takes_a_body_in_pieces_and_no_more_than_a_block_is_held) {
  UploadWorld world(true);
  std::mt19937_64 random(1);
  RawPeer peer = world.http().peer();
  for (const size_t n_bytes : {1u, 65'535u, 65'536u, 65'537u, 5'000'000u}) {
    SCOPED_TRACE(n_bytes);
    world.ask([](UploadWorld& self) {
      self.pieces.clear();
      return true;
    });
    const std::string body = random_bytes(n_bytes, random);
    const RawAnswer answer = peer.call("POST", "/upload", body);
    EXPECT_EQ(answer.status, 201) << answer.body;
    EXPECT_TRUE(world.body() == body);
    expect_full_pieces(world);
  }
  EXPECT_EQ(world.begun_with_bytes, 0u);
  EXPECT_EQ(world.http().bodies().peak_bytes, kBlockBytes);
  EXPECT_EQ(world.http().bodies().used_bytes, 0u);
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok") << "the connection goes on";
}

TEST(BodySink, is_charged_with_what_it_holds_until_the_answer) {
  UploadWorld world(false);
  world.sink_bytes = 100'000;
  RawPeer peer = world.http().peer();
  ASSERT_TRUE(peer.send(RawPeer::request("POST", "/upload", "small")));
  world.wait_for_pieces(1);
  EXPECT_EQ(world.http().bodies().used_bytes, kBlockBytes + 100'000);
  world.go_on();
  EXPECT_EQ(peer.read().status, 201);
  while (world.http().bodies().used_bytes != 0) std::this_thread::yield();
  world.has_begun = false;
  world.sink_bytes = 1 << 20;
  const RawAnswer refused = peer.call("POST", "/upload", "small");
  EXPECT_EQ(refused.status, 503) << refused.body;
  world.wait_until_let_go();
}

TEST(BodySink, gets_full_pieces_however_small_the_chunks_are) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  UploadWorld world(true);
  const std::string body = random_bytes(300'000, random);
  std::string sent = kChunked;
  for (size_t at = 0; at < body.size();) {
    const size_t most = std::min(body.size() - at, size_t{1} << random() % 16);
    const size_t n = 1 + random() % most;
    sent += chunk(std::string_view(body).substr(at, n));
    at += n;
  }
  sent += "0\r\n\r\n";
  RawPeer peer = world.http().peer();
  for (size_t at = 0; at < sent.size();) {
    const size_t n = std::min(sent.size() - at, 1 + random() % 50'000);
    ASSERT_TRUE(peer.send(std::string_view(sent).substr(at, n)));
    at += n;
  }
  EXPECT_EQ(peer.read().status, 201);
  EXPECT_TRUE(world.body() == body);
  expect_full_pieces(world);
  EXPECT_EQ(world.http().bodies().peak_bytes, kBlockBytes);
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok");
}

TEST(BodySink, of_a_request_without_a_body_takes_nothing) {
  UploadWorld world(true);
  RawPeer peer = world.http().peer();
  EXPECT_EQ(peer.call("POST", "/upload", "", "Content-Length: 0\r\n").status, 201);
  ASSERT_TRUE(peer.send(kChunked + "0\r\n\r\n"));
  EXPECT_EQ(peer.read().status, 201);
  EXPECT_EQ(world.body(), "");
}

TEST(BodySink, that_has_a_piece_is_given_no_other_and_nothing_is_read) {
  UploadWorld world(false);
  RawPeer peer = world.http().peer();
  const std::string body(kLimit, 'x');
  ASSERT_TRUE(peer.send("POST /upload HTTP/1.1\r\nHost: p\r\nContent-Length: " +
                        std::to_string(body.size()) + "\r\n\r\n"));
  size_t n_sent = 0;
  for (;;) {
    pollfd room{peer.fd(), POLLOUT, 0};
    if (n_sent == body.size() || ::poll(&room, 1, 300) == 0) break;
    const ssize_t n =
        ::send(peer.fd(), body.data() + n_sent, body.size() - n_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) n_sent += static_cast<size_t>(n);
  }
  EXPECT_LT(n_sent, kLimit / 4) << "what the socket holds";
  EXPECT_EQ(world.ask([](UploadWorld& self) { return self.pieces.size(); }), 1u);
  world.ask([](UploadWorld& self) {
    self.takes = [](const BodySink::Next& next) { next(std::nullopt); };
    return true;
  });
  world.go_on();
  ASSERT_TRUE(peer.send(std::string_view(body).substr(n_sent)));
  EXPECT_EQ(peer.read().status, 201);
  EXPECT_EQ(world.body().size(), body.size());
}

TEST(BodySink, may_be_slower_than_its_client_has_to_be) {
  HttpServer::Options options;
  options.body_max = std::chrono::milliseconds(300);
  UploadWorld world(false, options);
  RawPeer peer = world.http().peer();
  ASSERT_TRUE(peer.send(RawPeer::request("POST", "/upload", std::string(100'000, 'x'))));
  world.wait_for_pieces(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  world.go_on();
  world.wait_for_pieces(2);
  world.go_on();
  EXPECT_EQ(peer.read().status, 201);
}

TEST(BodySink, of_a_client_that_sends_no_more_is_let_go_of_and_the_client_reads_408) {
  HttpServer::Options options;
  options.body_max = std::chrono::milliseconds(200);
  UploadWorld world(true, options);
  RawPeer peer = world.http().peer();
  const std::string half = RawPeer::request("POST", "/upload", std::string(100'000, 'x'));
  ASSERT_TRUE(peer.send(std::string_view(half).substr(0, half.size() - 1)));
  const RawAnswer late = peer.read();
  EXPECT_EQ(late.status, 408);
  EXPECT_NE(late.body.find("next piece"), late.body.npos) << late.body;
  world.wait_until_let_go();
  EXPECT_GE(world.body().size(), kBlockBytes / 2) << "pieces before it were taken";
}

TEST(BodySink, can_refuse_the_rest) {
  UploadWorld world(false);
  RawPeer peer = world.http().peer();
  ASSERT_TRUE(peer.send("POST /upload HTTP/1.1\r\nHost: p\r\nContent-Length: 30000000\r\n\r\n" +
                        std::string(70'000, 'x')));
  world.wait_for_pieces(1);
  const BodySink::Next stale = world.next();
  world.go_on(error_reply(invalid("no such purpose")));
  const RawAnswer refused = peer.read();
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("no such purpose"), refused.body.npos) << refused.body;
  EXPECT_NE(refused.head.find("Connection: close"), refused.head.npos) << refused.head;
  world.wait_until_let_go();
  stale(std::nullopt);
  stale(error_reply(invalid("again")));
  EXPECT_EQ(peer.read_some(), "") << "one answer, and the end";
  peer.close();
  while (world.http().figures().connections.open != 0) std::this_thread::yield();
}

TEST(BodySink, can_refuse_with_the_last_piece_and_the_connection_goes_on) {
  UploadWorld world(false);
  RawPeer peer = world.http().peer();
  ASSERT_TRUE(peer.send(RawPeer::request("POST", "/upload", "small")));
  world.wait_for_pieces(1);
  world.go_on(error_reply(invalid("no such purpose")));
  EXPECT_EQ(peer.read().status, 400);
  world.wait_until_let_go();
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok");
}

TEST(BodySink, is_let_go_of_when_its_client_goes_away) {
  HttpServer::Options options;
  options.tcp = {{"127.0.0.1", 0}};
  for (const bool by_tcp : {false, true}) {
    for (const bool is_busy : {false, true}) {
      SCOPED_TRACE(std::to_string(by_tcp) + std::to_string(is_busy));
      UploadWorld world(!is_busy, options);
      RawPeer peer = by_tcp ? world.http().tcp_peer(0) : world.http().peer();
      ASSERT_TRUE(peer.send("POST /upload HTTP/1.1\r\nHost: p\r\nContent-Length: 1000000\r\n\r\n" +
                            std::string(70'000, 'x')));
      world.wait_for_pieces(1);
      // It keeps what holds on to the session, if anything did.
      const BodySink::Next late = is_busy ? world.next() : BodySink::Next();
      peer.close();
      if (is_busy && by_tcp) world.go_on();  // the next read finds out
      world.wait_until_let_go();
      while (world.http().figures().connections.open != 0) std::this_thread::yield();
      if (late) late(std::nullopt);
      EXPECT_EQ(world.http().bodies().used_bytes, 0u);
    }
  }
}

TEST(BodySink, that_is_busy_is_not_disturbed_by_urgent_data) {
  HttpServer::Options options;
  options.tcp = {{"127.0.0.1", 0}};
  UploadWorld world(false, options);
  RawPeer peer = world.http().tcp_peer(0);
  ASSERT_TRUE(peer.send(RawPeer::request("POST", "/upload", "small")));
  world.wait_for_pieces(1);
  ASSERT_EQ(::send(peer.fd(), "!", 1, MSG_OOB), 1);
  EXPECT_LT(HttpWorld::idle_cpu(), 0.1);
  world.go_on();
  EXPECT_EQ(peer.read().status, 201);
}

TEST(BodySink, that_forgets_to_go_on_closes_the_connection) {
  UploadWorld world(false);
  RawPeer peer = world.http().peer();
  ASSERT_TRUE(peer.send("POST /upload HTTP/1.1\r\nHost: p\r\nContent-Length: 1000000\r\n\r\n" +
                        std::string(70'000, 'x')));
  world.wait_for_pieces(1);
  world.forget_next();
  EXPECT_EQ(peer.read_some(), "");
  world.wait_until_let_go();
  while (world.http().figures().connections.open != 0) std::this_thread::yield();
}

TEST(BodySink, may_go_on_and_forget_on_any_thread) {
  UploadWorld world(true);
  std::vector<std::thread> threads;
  world.ask([&](UploadWorld& self) {
    self.takes = [&threads](BodySink::Next next) {
      threads.emplace_back([next = std::move(next)]() mutable {
        next(std::nullopt);
        next = nullptr;
      });
    };
    return true;
  });
  RawPeer peer = world.http().peer();
  const std::string body(1'000'000, 'x');
  EXPECT_EQ(peer.call("POST", "/upload", body).status, 201);
  EXPECT_TRUE(world.body() == body);
  world.ask([&](UploadWorld& self) {
    self.has_begun = false;
    self.takes = [&threads](BodySink::Next next) {
      threads.emplace_back([next = std::move(next)]() mutable { next = nullptr; });
    };
    return true;
  });
  peer.send(RawPeer::request("POST", "/upload", body));
  EXPECT_EQ(peer.read_some(), "");
  world.wait_until_let_go();
  for (std::thread& thread : threads) thread.join();
}

TEST(BodySink, is_asked_for_nothing_of_a_body_over_its_limit) {
  UploadWorld world(true);
  const RawAnswer announced = world.http().peer().call(
      "POST", "/upload", "", "Content-Length: " + std::to_string(kLimit + 1) + "\r\n");
  EXPECT_EQ(announced.status, 413) << announced.body;
  world.wait_until_let_go();
  RawPeer chunked = world.http().peer();
  ASSERT_TRUE(chunked.send(kChunked + chunk(std::string(70'000, 'x')) + "7ffffff\r\n"));
  const RawAnswer more = chunked.read();
  EXPECT_EQ(more.status, 413) << more.body;
  EXPECT_NE(more.body.find("has more"), more.body.npos) << more.body;
  world.wait_until_let_go();
  EXPECT_EQ(world.http().bodies().used_bytes, 0u);
}

TEST(BodySink, is_let_go_of_with_a_body_that_is_no_http) {
  UploadWorld world(true);
  for (const std::string& broken : {std::string("zz\r\n"), "5;" + std::string(70'000, 'x')}) {
    RawPeer peer = world.http().peer();
    peer.send(kChunked + broken);
    EXPECT_EQ(peer.read().status, 400);
    world.wait_until_let_go();
  }
}

TEST(BodySink, wants_its_body_after_a_continue) {
  UploadWorld world(true);
  RawPeer peer = world.http().peer();
  const std::string body(100'000, 'x');
  ASSERT_TRUE(
      peer.send("POST /upload HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: " +
                std::to_string(body.size()) + "\r\n\r\n"));
  EXPECT_EQ(peer.read().status, 100);
  ASSERT_TRUE(peer.send(body));
  EXPECT_EQ(peer.read().status, 201);
  EXPECT_TRUE(world.body() == body);
}

}  // namespace
}  // namespace parkd::testing
