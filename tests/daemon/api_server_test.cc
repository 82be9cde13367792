// HTTP as peers speak it, badly or well, and how many of them may.
#include <gtest/gtest.h>

#include <list>
#include <thread>
#include <vector>

#include "daemon/api/routes.h"
#include "lib/http/byte_budget.h"
#include "lib/http/connections.h"
#include "tests/daemon/api_world.h"

namespace parkd::testing {
namespace {

constexpr uid_t kSomebody = 3'999'999'999u;  // not root, not us
constexpr uid_t kAnother = kSomebody - 1;

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

TEST(HttpServer, a_continue_is_sent_before_the_body_and_only_where_the_body_is_wanted) {
  ApiWorld world;
  RawPeer peer = world.peer();
  const std::string head =
      "POST /v1/batches HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: ";
  ASSERT_TRUE(peer.send(head + "2\r\n\r\n"));
  EXPECT_EQ(peer.read().status, 100);
  ASSERT_TRUE(peer.send("{}"));
  EXPECT_EQ(peer.read().status, 201);
  ASSERT_TRUE(peer.send(head + "9000000\r\n\r\n"));
  const RawAnswer refused = peer.read();
  EXPECT_EQ(refused.status, 413) << refused.body;
  RawPeer odd = world.peer();
  EXPECT_EQ(odd.call("POST", "/v1/batches", "{}", "Expect: a-miracle\r\n").status, 417);
}

TEST(HttpServer, a_body_over_its_routes_limit_is_413_with_route_size_and_limit) {
  ApiWorld world;
  struct Case {
    const char* target;
    const char* route;
    size_t limit;
  };
  const Case cases[] = {{"/v1/jobs/requeue", "POST /v1/jobs/requeue", 512 << 10},
                        {"/v1/batches", "POST /v1/batches", 512 << 10},
                        {"/v1/batches/b/seal", "POST /v1/batches/ID/seal", 4 << 10},
                        {"/v1/batches/b/cancel", "POST /v1/batches/ID/cancel", 4 << 10},
                        {"/v1/jobs/1/cancel", "POST /v1/jobs/ID/cancel", 4 << 10},
                        {"/v1/mailbox/a/b/take", "POST /v1/mailbox/KEY/take", 64 << 10},
                        {"/v1/jobs", "POST /v1/jobs (daemon.max_request_bytes)", 64 << 20}};
  for (const Case& each : cases) {
    SCOPED_TRACE(each.target);
    RawPeer peer = world.peer();
    const std::string body(each.limit + 1, ' ');
    const RawAnswer answer = peer.call("POST", each.target, body);
    EXPECT_EQ(answer.status, 413);
    for (const std::string& part :
         {std::string(each.route), std::to_string(each.limit), std::to_string(each.limit + 1)}) {
      EXPECT_TRUE(holds(answer.body, part)) << part << " is not in " << answer.body;
    }
    RawPeer chunked = world.peer();
    ASSERT_TRUE(chunked.send("POST " + std::string(each.target) +
                             " HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n" +
                             "7fffffff\r\n" + body.substr(0, 100)));
    EXPECT_EQ(chunked.read().status, 413);
  }
  EXPECT_EQ(world.parsing().used_bytes, 0u);
}

TEST(HttpServer, a_chunked_body_is_a_body) {
  ApiWorld world;
  RawPeer peer = world.peer();
  ASSERT_TRUE(
      peer.send("POST /v1/batches HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n"
                "9\r\n{\"name\":\"\r\n3\r\nn\"}\r\n0\r\n\r\n"));
  const RawAnswer answer = peer.read();
  EXPECT_EQ(answer.status, 201) << answer.body;
  EXPECT_TRUE(holds(answer.body, "\"name\":\"n\"")) << answer.body;
}

TEST(HttpServer, codings_it_does_not_know_are_refused_by_name) {
  ApiWorld world;
  for (const char* coding : {"gzip", "gzip, chunked", "identity"}) {
    RawPeer peer = world.peer();
    ASSERT_TRUE(peer.send("POST /v1/batches HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: " +
                          std::string(coding) + "\r\n\r\n{}"));
    const RawAnswer answer = peer.read();
    EXPECT_EQ(answer.status, 501) << answer.body;
    EXPECT_TRUE(holds(answer.body, coding)) << answer.body;
  }
  RawPeer peer = world.peer();
  const RawAnswer gzip = peer.call("POST", "/v1/batches", "{}", "Content-Encoding: gzip\r\n");
  EXPECT_EQ(gzip.status, 415) << gzip.body;
  EXPECT_EQ(world.peer().call("POST", "/v1/batches", "{}", "Content-Encoding: identity\r\n").status,
            201);
}

TEST(HttpServer, head_is_get_without_the_body) {
  ApiWorld world;
  RawPeer peer = world.peer();
  const RawAnswer get = peer.call("GET", "/healthz");
  const RawAnswer head = peer.call("HEAD", "/healthz");
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(holds(head.head, "Content-Length: " + std::to_string(get.body.size()))) << head.head;
  EXPECT_EQ(peer.call("HEAD", "/v1/models").status, 200);
  EXPECT_EQ(peer.call("HEAD", "/v1/nothing").status, 404);
  EXPECT_EQ(peer.call("GET", "/healthz").body, get.body) << "the connection goes on";
}

TEST(HttpServer, another_method_is_405_with_those_there_are) {
  ApiWorld world;
  RawPeer peer = world.peer();
  struct Case {
    const char* method;
    const char* target;
    const char* allow;
  };
  const Case cases[] = {{"DELETE", "/v1/jobs", "Allow: GET, HEAD, POST\r\n"},
                        {"POST", "/v1/jobs/7", "Allow: GET, HEAD\r\n"},
                        {"POST", "/metrics", "Allow: GET, HEAD\r\n"},
                        {"GET", "/v1/batches/b/seal", "Allow: POST\r\n"},
                        {"PUT", "/v1/mailbox/k/take", "Allow: GET, HEAD, POST\r\n"}};
  for (const Case& each : cases) {
    SCOPED_TRACE(std::string(each.method) + " " + each.target);
    const RawAnswer answer = peer.call(each.method, each.target);
    EXPECT_EQ(answer.status, 405) << answer.body;
    EXPECT_TRUE(holds(answer.head, each.allow)) << answer.head;
  }
  EXPECT_EQ(peer.call("GET", "/v1/jobs/1/2").status, 404);
  EXPECT_EQ(peer.call("GET", "/v1/mailbox/").status, 404);
}

TEST(HttpServer, a_header_or_a_body_that_does_not_come_is_408_and_gives_its_place_back) {
  ApiWorldOptions options;
  options.server.header_max = std::chrono::milliseconds(200);
  options.server.body_max = std::chrono::milliseconds(200);
  ApiWorld world(options);
  RawPeer header = world.peer();
  ASSERT_TRUE(header.send("GET /healthz HTTP/1.1\r\nX-Slow:"));
  const RawAnswer late = header.read();
  EXPECT_EQ(late.status, 408) << late.body;
  RawPeer body = world.peer();
  ASSERT_TRUE(body.send("POST /v1/jobs HTTP/1.1\r\nHost: p\r\nContent-Length: 1000\r\n\r\n{"));
  const RawAnswer half = body.read();
  EXPECT_EQ(half.status, 408) << half.body;
  while (world.metric("parkd_connections") != 1) std::this_thread::yield();
  EXPECT_EQ(world.parsing().used_bytes, 0u);
}

TEST(HttpServer, a_connection_that_asks_for_nothing_is_closed) {
  ApiWorldOptions options;
  options.server.idle_max = std::chrono::milliseconds(100);
  ApiWorld world(options);
  RawPeer idle = world.peer();
  while (!idle.ended()) std::this_thread::yield();
}

TEST(HttpServer,
     a_long_poll_whose_client_has_gone_gives_its_place_back_and_a_half_closed_one_waits) {
  ApiWorld world;
  const std::string poll = RawPeer::request("GET", "/v1/mailbox/k?wait_s=60");
  RawPeer patient = world.peer();
  ASSERT_TRUE(patient.send(poll));
  ASSERT_EQ(::shutdown(patient.fd(), SHUT_WR), 0);
  {
    std::list<RawPeer> gone;
    for (int i = 0; i < 20; ++i) {
      gone.push_back(world.peer());
      ASSERT_TRUE(gone.back().send(poll));
    }
    while (world.metric("parkd_connections") != 22) std::this_thread::yield();
  }
  while (world.metric("parkd_connections") != 2) std::this_thread::yield();
  world.complete_a_job("k", "{}");
  world.wake("k");
  EXPECT_TRUE(holds(patient.read().body, "\"outcome\":\"completed\""));
}

TEST(Connections, one_user_has_half_and_the_last_are_kept_for_root_and_the_daemons_user) {
  Connections connections(64);
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(connections.enter(kSomebody).ok());
  const Status half = connections.enter(kSomebody);
  EXPECT_EQ(half.code(), StatusCode::unavailable);
  EXPECT_TRUE(holds(half.message(), "32")) << half.message();
  EXPECT_TRUE(holds(half.message(), "daemon.connections_max")) << half.message();
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(connections.enter(kAnother).ok());
  EXPECT_FALSE(connections.enter(kAnother).ok()) << "the last 16 are kept";
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(connections.enter(0).ok());
  EXPECT_FALSE(connections.enter(0).ok());
  connections.leave(kSomebody);
  EXPECT_TRUE(connections.enter(::geteuid()).ok());
  EXPECT_EQ(connections.figures().open, 64);
  EXPECT_EQ(connections.figures().refused, 3);
}

TEST(Connections, one_too_many_reads_a_503_with_the_reason) {
  ApiWorldOptions options;
  options.server.connections_max = 32;
  ApiWorld world(options);
  std::list<RawPeer> peers;
  for (int i = 0; i < 32; ++i) {
    peers.push_back(world.peer());
    ASSERT_EQ(peers.back().call("GET", "/healthz").status, 200) << i;
  }
  for (int i = 0; i < 100; ++i) {
    RawPeer late = world.peer();
    late.send(RawPeer::request("GET", "/healthz"));
    const RawAnswer answer = late.read();
    ASSERT_EQ(answer.status, 503) << i;
    EXPECT_TRUE(holds(answer.head, "Retry-After: ")) << answer.head;
    EXPECT_TRUE(holds(answer.body, "daemon.connections_max, 32")) << answer.body;
  }
  peers.pop_back();
  RawAnswer again;
  do {
    again = world.peer().call("GET", "/metrics");
  } while (again.status == 503);
  EXPECT_TRUE(holds(again.body, "parkd_connections_limit 32")) << again.body;
}

TEST(ByteBudget, a_user_has_half_and_what_goes_is_given_back) {
  ByteBudget budget("requests", 1000);
  ByteBudget::Charge one(budget, kSomebody);
  EXPECT_TRUE(one.grow(400).ok());
  EXPECT_EQ(one.grow(101).code(), StatusCode::unavailable);
  EXPECT_TRUE(one.grow(100).ok());
  {
    ByteBudget::Charge two(budget, kAnother);
    EXPECT_TRUE(two.grow(300).ok());
    ByteBudget::Charge root(budget, 0);
    const Status refused = root.grow(201);
    EXPECT_TRUE(holds(refused.message(), "1000")) << refused.message();
    EXPECT_TRUE(root.grow(200).ok()) << "root has all that is left";
  }
  EXPECT_EQ(budget.figures().used_bytes, 500u);
  EXPECT_EQ(budget.figures().peak_bytes, 1000u);
  EXPECT_EQ(budget.figures().refused, 2);
  one.shrink_to(20);
  EXPECT_EQ(budget.figures().used_bytes, 20u);
}

TEST(TurnQueue, users_take_turns) {
  BlockingPool pool(1, 0);
  TurnQueue queue(pool, 1);
  std::mutex first_runs;
  first_runs.lock();
  std::string order;
  std::atomic<int> n_done{0};
  const auto note = [&](uid_t uid, char name) {
    queue.run(uid, [&order, &n_done, name] {
      order += name;
      ++n_done;
    });
  };
  queue.run(1, [&] { const std::lock_guard lock(first_runs); });
  for (int i = 0; i < 3; ++i) note(1, 'a');
  note(2, 'b');
  note(3, 'c');
  first_runs.unlock();
  while (n_done < 5) std::this_thread::yield();
  pool.stop();
  EXPECT_LT(order.find('b'), 3u) << order;
  EXPECT_LT(order.find('c'), 3u) << order;
}

}  // namespace
}  // namespace parkd::testing
