// HTTP as peers speak it, badly or well.
#include <gtest/gtest.h>

#include <list>
#include <string>
#include <thread>

#include "tests/http/http_world.h"

namespace parkd::testing {
namespace {

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

TEST(HttpServer, a_continue_is_sent_before_the_body_and_only_where_the_body_is_wanted) {
  HttpWorld world;
  RawPeer peer = world.peer();
  const std::string head =
      "POST /small HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: ";
  ASSERT_TRUE(peer.send(head + "2\r\n\r\n"));
  EXPECT_EQ(peer.read().status, 100);
  ASSERT_TRUE(peer.send("{}"));
  EXPECT_EQ(peer.read().status, 201);
  ASSERT_TRUE(peer.send(head + "101\r\n\r\n"));
  const RawAnswer refused = peer.read();
  EXPECT_EQ(refused.status, 413) << refused.body;
  RawPeer odd = world.peer();
  EXPECT_EQ(odd.call("POST", "/small", "{}", "Expect: a-miracle\r\n").status, 417);
}

TEST(HttpServer, a_body_over_its_limit_is_413_with_limit_key_and_size) {
  HttpWorld world;
  const RawAnswer announced = world.peer().call("POST", "/small", std::string(101, ' '));
  EXPECT_EQ(announced.status, 413);
  for (const char* part : {"POST /small (some.key)", "at most 100 bytes", "has 101"}) {
    EXPECT_TRUE(holds(announced.body, part)) << part << " is not in " << announced.body;
  }
  RawPeer chunked = world.peer();
  ASSERT_TRUE(chunked.send("POST /small HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n" +
                           std::string("7fffffff\r\n") + std::string(100, ' ')));
  const RawAnswer more = chunked.read();
  EXPECT_EQ(more.status, 413);
  EXPECT_TRUE(holds(more.body, "has more")) << more.body;
  EXPECT_EQ(world.bodies().used_bytes, 0u);
}

TEST(HttpServer, a_chunked_body_is_a_body) {
  HttpWorld world;
  RawPeer peer = world.peer();
  ASSERT_TRUE(
      peer.send("POST /small HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n"
                "9\r\n{\"name\":\"\r\n3\r\nn\"}\r\n0\r\n\r\n"));
  const RawAnswer answer = peer.read();
  EXPECT_EQ(answer.status, 201) << answer.body;
  EXPECT_EQ(answer.body, "{\"name\":\"n\"}");
}

TEST(HttpServer, codings_it_does_not_know_are_refused_by_name) {
  HttpWorld world;
  for (const char* coding : {"gzip", "gzip, chunked", "identity"}) {
    RawPeer peer = world.peer();
    ASSERT_TRUE(peer.send("POST /small HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: " +
                          std::string(coding) + "\r\n\r\n{}"));
    const RawAnswer answer = peer.read();
    EXPECT_EQ(answer.status, 501) << answer.body;
    EXPECT_TRUE(holds(answer.body, coding)) << answer.body;
  }
  RawPeer peer = world.peer();
  const RawAnswer gzip = peer.call("POST", "/small", "{}", "Content-Encoding: gzip\r\n");
  EXPECT_EQ(gzip.status, 415) << gzip.body;
  EXPECT_EQ(world.peer().call("POST", "/small", "{}", "Content-Encoding: identity\r\n").status,
            201);
}

TEST(HttpServer, head_is_get_without_the_body) {
  HttpWorld world;
  RawPeer peer = world.peer();
  const RawAnswer get = peer.call("GET", "/ok");
  const RawAnswer head = peer.call("HEAD", "/ok");
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(holds(head.head, "Content-Length: " + std::to_string(get.body.size()))) << head.head;
  EXPECT_EQ(peer.call("HEAD", "/v1/nothing").status, 404);
  EXPECT_EQ(peer.call("GET", "/ok").body, get.body) << "the connection goes on";
}

TEST(HttpServer, a_header_or_a_body_that_does_not_come_is_408_and_gives_its_place_back) {
  HttpServer::Options options;
  options.header_max = std::chrono::milliseconds(200);
  options.body_max = std::chrono::milliseconds(200);
  HttpWorld world(options);
  {
    RawPeer header = world.peer();
    ASSERT_TRUE(header.send("GET /ok HTTP/1.1\r\nX-Slow:"));
    const RawAnswer late = header.read();
    EXPECT_EQ(late.status, 408) << late.body;
    RawPeer body = world.peer();
    ASSERT_TRUE(body.send("POST /small HTTP/1.1\r\nHost: p\r\nContent-Length: 99\r\n\r\n{"));
    const RawAnswer half = body.read();
    EXPECT_EQ(half.status, 408) << half.body;
  }
  while (world.figures().connections.open != 0) std::this_thread::yield();
  EXPECT_EQ(world.bodies().used_bytes, 0u);
}

TEST(HttpServer, a_connection_that_asks_for_nothing_is_closed) {
  HttpServer::Options options;
  options.idle_max = std::chrono::milliseconds(100);
  HttpWorld world(options);
  RawPeer idle = world.peer();
  while (!idle.ended()) std::this_thread::yield();
}

TEST(HttpServer, what_it_answered_is_counted_by_route_and_status) {
  HttpWorld world;
  RawPeer peer = world.peer();
  EXPECT_EQ(peer.call("GET", "/ok").status, 200);
  EXPECT_EQ(peer.call("GET", "/ok?x=1").status, 200);
  EXPECT_EQ(peer.call("GET", "/nothing").status, 404);
  EXPECT_EQ(peer.call("POST", "/small", std::string(101, ' ')).status, 413);
  const std::map<std::pair<std::string, int>, int64_t> expected = {
      {{"GET /ok", 200}, 2}, {{"", 404}, 1}, {{"POST /small", 413}, 1}};
  EXPECT_EQ(world.figures().answered, expected);
}

}  // namespace
}  // namespace parkd::testing
