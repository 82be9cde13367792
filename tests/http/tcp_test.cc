// What TCP has of its own: addresses, peers that go away, shares by address.
#include <gtest/gtest.h>

#include <list>
#include <string>
#include <thread>

#include "lib/http/connections.h"
#include "lib/http/tcp_socket.h"
#include "tests/http/http_world.h"

namespace parkd::testing {
namespace {

constexpr const char* kLoopback = "127.0.0.1";

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

HttpServer::Options on_tcp() {
  HttpServer::Options options;
  options.tcp = {{kLoopback, 0}};
  return options;
}

TEST(Tcp, is_answered_as_the_socket_is) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok");
  EXPECT_EQ(peer.call("POST", "/small", "{}").status, 201) << "on the same connection";
  const RawAnswer refused = peer.call("POST", "/small", std::string(101, ' '));
  EXPECT_EQ(refused.status, 413) << refused.body;
  EXPECT_EQ(world.peer().call("GET", "/ok").body, "ok") << "and the socket is there too";
}

TEST(Tcp, several_addresses_are_listened_on) {
  HttpServer::Options options = on_tcp();
  options.tcp.push_back({"127.0.0.2", 0});
  const auto v6 = listen_tcp({"::1", 0});
  if (v6.ok()) {
    ::close(*v6);
    options.tcp.push_back({"::1", 0});
  } else {
    std::cout << "no IPv6 here: " << v6.status().to_string() << "\n";
  }
  HttpWorld world(options);
  EXPECT_EQ(world.tcp_peer(0).call("GET", "/ok").body, "ok");
  if (v6.ok()) {
    EXPECT_EQ(world.tcp_peer(2).call("GET", "/ok").body, "ok");
  }
}

TEST(Tcp, a_peer_that_closes_is_gone_and_what_its_request_held_is_let_go) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/wait")));
  world.wait_for_a_waiter();
  EXPECT_TRUE(world.waiter_is_held());
  EXPECT_FALSE(world.waiter_is_gone());
  peer.close();
  while (!world.waiter_is_gone()) std::this_thread::yield();
  while (world.waiter_is_held()) std::this_thread::yield();
  while (world.figures().connections.open != 0) std::this_thread::yield();
}

TEST(Tcp, a_peer_that_only_ended_its_sending_gets_its_answer) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/wait")));
  world.wait_for_a_waiter();
  peer.end_sending();
  EXPECT_EQ(peer.read().status, 100) << "it is asked whether it is there";
  EXPECT_FALSE(world.waiter_is_gone());
  world.answer_waiter();
  const RawAnswer answer = peer.read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "at last");
  while (world.waiter_is_held()) std::this_thread::yield();
}

TEST(Tcp, one_that_closes_after_it_ended_its_sending_is_let_go_with_its_answer) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/wait")));
  world.wait_for_a_waiter();
  peer.end_sending();
  EXPECT_EQ(peer.read().status, 100);
  EXPECT_FALSE(world.waiter_is_gone());
  // No packet tells of this close: parkd learns it when it writes the answer.
  peer.close();
  world.answer_waiter();
  while (world.figures().connections.open != 0) std::this_thread::yield();
}

TEST(Tcp, a_peer_that_sent_ahead_and_closes_is_gone) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/wait")));
  world.wait_for_a_waiter();
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/ok")));
  for (int round = 0; round < 3; ++round) (void)world.figures();  // it has seen what was sent
  peer.close();
  while (!world.waiter_is_gone()) std::this_thread::yield();
}

TEST(Tcp, urgent_data_is_passed_over_and_keeps_nobody_busy) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/wait")));
  world.wait_for_a_waiter();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(::send(peer.fd(), "!", 1, MSG_OOB), 1);
  EXPECT_LT(HttpWorld::idle_cpu(), 0.1);
  EXPECT_FALSE(world.waiter_is_gone());
  world.answer_waiter();
  EXPECT_EQ(peer.read().body, "at last");
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok");
}

TEST(Tcp, what_a_request_held_is_let_go_when_it_is_answered) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/wait")));
  world.wait_for_a_waiter();
  world.answer_waiter();
  EXPECT_EQ(peer.read().body, "at last");
  while (world.waiter_is_held()) std::this_thread::yield();
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok") << "the connection goes on";
}

TEST(Tcp, what_a_peer_sent_ahead_is_answered_in_its_turn) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/wait")));
  world.wait_for_a_waiter();
  ASSERT_TRUE(peer.send(RawPeer::request("GET", "/ok")));
  world.answer_waiter();
  EXPECT_EQ(peer.read().body, "at last");
  EXPECT_EQ(peer.read().body, "ok");
}

// Nothing can be sent to it before its answer: HTTP/1.0 knows no 100.
TEST(Tcp, a_peer_of_http_1_0_is_gone_when_it_ends_its_sending) {
  HttpWorld world(on_tcp());
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send("GET /wait HTTP/1.0\r\n\r\n"));
  world.wait_for_a_waiter();
  peer.end_sending();
  while (!world.waiter_is_gone()) std::this_thread::yield();
}

TEST(Tcp, an_address_that_cannot_be_had_is_named_with_the_way_out) {
  const auto first = listen_tcp({kLoopback, 0});
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  const TcpAddress taken = bound_address(*first);
  EXPECT_EQ(taken.ip, kLoopback);
  EXPECT_NE(taken.port, 0);
  const Status refused = listen_tcp(taken).status();
  EXPECT_EQ(refused.code(), StatusCode::conflict);
  for (const std::string& part : {taken.to_string(), std::string("daemon.listen"),
                                  std::string("bind: "), std::string("choose another port")}) {
    EXPECT_TRUE(holds(refused.message(), part)) << part << " is not in " << refused.message();
  }
  ::close(*first);
  const Status foreign = listen_tcp({"192.0.2.1", 0}).status();  // TEST-NET-1, RFC 5737
  EXPECT_TRUE(holds(foreign.message(), "no interface")) << foreign.message();
}

TEST(Tcp, connections_are_shared_out_by_address_and_by_network_of_ipv6) {
  EXPECT_FALSE(tcp_peer(kLoopback).is_privileged);
  EXPECT_EQ(tcp_peer("192.0.2.1").account, "address 192.0.2.1");
  EXPECT_EQ(tcp_peer("::1").account, "address ::1");
  EXPECT_EQ(tcp_peer("2001:db8:1:2::3").account, "address 2001:db8:1:2::/64");
  EXPECT_EQ(tcp_peer("2001:db8:1:2:ffff::1").account, "address 2001:db8:1:2::/64");
  Connections connections(64);
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(connections.enter(tcp_peer("192.0.2.1")).ok());
  const Status half = connections.enter(tcp_peer("192.0.2.1"));
  EXPECT_TRUE(holds(half.message(), "your address has 32")) << half.message();
  EXPECT_TRUE(connections.enter(tcp_peer("192.0.2.2")).ok());
}

TEST(Tcp, one_connection_too_many_reads_a_503_with_the_reason) {
  HttpServer::Options options = on_tcp();
  options.connections_max = 32;
  HttpWorld world(options);
  std::list<RawPeer> peers;
  for (int i = 0; i < 16; ++i) {
    peers.push_back(world.tcp_peer(0));
    ASSERT_EQ(peers.back().call("GET", "/ok").status, 200) << i;
  }
  RawPeer late = world.tcp_peer(0);
  late.send(RawPeer::request("GET", "/ok"));
  const RawAnswer answer = late.read();
  EXPECT_EQ(answer.status, 503);
  EXPECT_TRUE(holds(answer.body, "daemon.connections_max, 32")) << answer.body;
  EXPECT_EQ(world.peer().call("GET", "/ok").status, 200)
      << "the socket's users have their own half";
}

}  // namespace
}  // namespace parkd::testing
