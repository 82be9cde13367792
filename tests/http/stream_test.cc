// Answers whose bodies come in pieces: chunks, connections that go on, clients that do not read.
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "tests/http/http_world.h"
#include "tests/support/event_peer.h"

namespace parkd::testing {
namespace {

using Stream = std::shared_ptr<HttpStream>;

const std::string kAsk = RawPeer::request("GET", "/stream");

bool write(HttpWorld& world, const std::string& text) {
  return world.with_stream([text](const Stream& stream) {
    stream->write(text);
    return true;
  });
}
bool end(HttpWorld& world) {
  return world.with_stream([](Stream& stream) {
    stream->end();
    stream.reset();
    return true;
  });
}

// Whoever writes to a stream and is kept by the watch of the peer alone, as a download is.
struct Writer {
  std::shared_ptr<HttpStream> stream;
};
HttpServer::Admit streams_by(std::weak_ptr<Writer>& seen) {
  return [&seen](const HttpRequest&) {
    HttpAdmission admission;
    admission.begin = [&seen](const HttpRequest& whole, const HttpReplier& reply) {
      const auto writer = std::make_shared<Writer>();
      seen = writer;
      whole.peer->when_gone([writer] { writer->stream.reset(); });
      HttpReply begun;
      begun.begin_stream = [writer](std::shared_ptr<HttpStream> stream) {
        stream->write("begun");
        writer->stream = std::move(stream);
      };
      reply(std::move(begun));
    };
    return admission;
  };
}

RawPeer reader_of(const HttpWorld& world) {
  RawPeer peer = world.peer();
  EXPECT_TRUE(peer.send(RawPeer::request("GET", "/written")));
  EXPECT_EQ(peer.read_head().status, 200);
  return peer;
}

std::string rest_of(RawPeer& peer) {
  std::string rest;
  for (std::string more; !(more = peer.read_some()).empty();) rest += more;
  return rest;
}

// Until so many bytes have come, or the connection ends.
size_t take_up_to(RawPeer& peer, size_t bytes) {
  size_t taken = 0;
  while (taken < bytes) {
    const size_t more = peer.read_some().size();
    if (more == 0) break;
    taken += more;
  }
  return taken;
}

TEST(HttpStream, comes_in_chunks_and_the_connection_goes_on) {
  HttpWorld world;
  EventPeer peer(world.socket());
  const RawAnswer head = peer.open(kAsk);
  EXPECT_EQ(head.status, 200);
  EXPECT_NE(head.head.find("Transfer-Encoding: chunked"), head.head.npos) << head.head;
  EXPECT_EQ(head.head.find("Content-Length"), head.head.npos) << head.head;
  write(world, "id: 1\ndata: a\n\n");
  EXPECT_EQ(peer.next()->data, "a");
  write(world, ": nothing\n\n");
  write(world, "data: " + std::string(100'000, 'b') + "\n\n");
  EXPECT_EQ(peer.next()->data.size(), 100'000u);
  EXPECT_FALSE(peer.is_whole());
  end(world);
  EXPECT_FALSE(peer.next());
  EXPECT_TRUE(peer.is_whole());
  const RawAnswer next = peer.open(RawPeer::request("GET", "/ok"));
  EXPECT_EQ(next.body, "ok");
  EXPECT_FALSE(world.streamer_is_gone());
}

TEST(HttpStream, that_is_under_way_goes_with_the_server_and_its_writer_too) {
  std::weak_ptr<Writer> writer;
  {
    HttpWorld world({}, streams_by(writer));
    const RawPeer peer = reader_of(world);
    EXPECT_FALSE(writer.expired());
  }
  EXPECT_TRUE(writer.expired());
}

TEST(HttpStream, that_has_ended_lets_go_of_its_writer_while_the_connection_stays) {
  std::weak_ptr<Writer> writer;
  HttpWorld world({}, streams_by(writer));
  const RawPeer peer = reader_of(world);
  world.on_control([&writer] {
    const auto held = writer.lock();
    held->stream->end();
    held->stream.reset();
    return true;
  });
  EXPECT_TRUE(world.on_control([&writer] { return writer.expired(); }));
  EXPECT_EQ(world.figures().connections.open, 1);
}

TEST(HttpStream, of_an_older_client_ends_with_its_connection) {
  HttpWorld world;
  RawPeer peer = world.peer();
  ASSERT_TRUE(peer.send("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
  const RawAnswer head = peer.read_head();
  EXPECT_EQ(head.head.find("chunked"), head.head.npos) << head.head;
  write(world, "all ");
  write(world, "of it");
  end(world);
  EXPECT_EQ(rest_of(peer), "all of it");
}

TEST(HttpStream, has_no_body_for_head) {
  HttpWorld world;
  RawPeer peer = world.peer();
  const RawAnswer head = peer.call("HEAD", "/stream");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.head.find("Content-Length"), head.head.npos) << head.head;
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok");
}

TEST(HttpStream, of_known_length_says_it_and_the_connection_goes_on) {
  HttpWorld world;
  RawPeer peer = world.peer();
  for (const size_t half : {0u, 1u, 100'000u}) {
    ASSERT_TRUE(peer.send(RawPeer::request("GET", "/stream?bytes=" + std::to_string(2 * half))));
    write(world, std::string(half, 'a'));
    write(world, std::string(half, 'b'));
    end(world);
    const RawAnswer answer = peer.read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.head.find("chunked"), answer.head.npos) << answer.head;
    EXPECT_NE(answer.head.find("Content-Length: " + std::to_string(2 * half)), answer.head.npos);
    EXPECT_TRUE(answer.body == std::string(half, 'a') + std::string(half, 'b'));
    world.forget_the_stream();
  }
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok");
}

TEST(HttpStream, of_known_length_for_an_older_client_has_its_length_too) {
  HttpWorld world;
  RawPeer peer = world.peer();
  ASSERT_TRUE(peer.send("GET /stream?bytes=9 HTTP/1.0\r\n\r\n"));
  write(world, "all of it");
  end(world);
  const RawAnswer answer = peer.read();
  EXPECT_EQ(answer.body, "all of it") << answer.head;
  EXPECT_EQ(rest_of(peer), "") << "it did not ask for more";
}

TEST(HttpStream, of_known_length_is_not_begun_for_head_but_its_length_is_said) {
  HttpWorld world;
  RawPeer peer = world.peer();
  const RawAnswer head = peer.call("HEAD", "/stream?bytes=12345678901");
  EXPECT_EQ(head.status, 200);
  EXPECT_NE(head.head.find("Content-Length: 12345678901\r\n"), head.head.npos) << head.head;
  EXPECT_FALSE(world.is_streaming());
  EXPECT_EQ(peer.call("GET", "/ok").body, "ok");
}

TEST(HttpStream, that_ends_before_its_length_is_seen_to_be_cut) {
  HttpWorld world;
  for (const bool by_end : {true, false}) {
    RawPeer peer = world.peer();
    ASSERT_TRUE(peer.send(RawPeer::request("GET", "/stream?bytes=10")));
    EXPECT_EQ(peer.read_head().status, 200);
    write(world, "123456789");
    world.with_stream([by_end](Stream& stream) {
      if (by_end) stream->end();
      stream.reset();
      return true;
    });
    EXPECT_LT(rest_of(peer).size(), 10u);
    while (world.figures().connections.open != 0) std::this_thread::yield();
    world.forget_the_stream();
  }
}

TEST(HttpStream, of_more_bytes_than_it_said_is_a_bug) {
  EXPECT_DEATH(
      {
        HttpWorld world;
        RawPeer peer = world.peer();
        peer.send(RawPeer::request("GET", "/stream?bytes=10"));
        write(world, "1234567890");
        write(world, "1");
      },
      "more bytes than it said");
}

TEST(HttpStream, that_is_let_go_of_is_seen_to_be_cut) {
  HttpWorld world;
  EventPeer peer(world.socket());
  peer.open(kAsk);
  write(world, "data: a\n\n");
  world.with_stream([](Stream& stream) {
    stream.reset();
    return true;
  });
  while (peer.next()) {
  }
  EXPECT_FALSE(peer.is_whole());
  while (world.figures().connections.open != 0) std::this_thread::yield();
}

TEST(HttpStream, says_what_its_client_has_not_taken_and_when_it_has) {
  HttpWorld world;
  EventPeer peer(world.socket());
  peer.open(kAsk);
  write(world, "data: " + std::string(8 << 20, 'x') + "\n\n");
  std::atomic<bool> is_sent{false};
  const size_t unsent = world.with_stream([&](const Stream& stream) {
    stream->when_sent([&is_sent] { is_sent = true; });
    return stream->unsent_bytes();
  });
  EXPECT_GT(unsent, size_t{4} << 20);
  EXPECT_FALSE(is_sent);
  EXPECT_EQ(peer.next()->data.size(), size_t{8} << 20);
  while (!is_sent) std::this_thread::yield();
  EXPECT_EQ(world.with_stream([](const Stream& stream) { return stream->unsent_bytes(); }), 0u);
  end(world);
  EXPECT_FALSE(peer.next());
  EXPECT_TRUE(peer.is_whole());
}

TEST(HttpStream, of_a_client_that_takes_nothing_is_cut_off) {
  HttpServer::Options options;
  options.write_max = std::chrono::milliseconds(100);
  HttpWorld world(options);
  EventPeer peer(world.socket());
  peer.open(kAsk);
  // One that waits for nothing is not.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  write(world, "data: a\n\n");
  EXPECT_EQ(peer.next()->data, "a");
  write(world, std::string(8 << 20, 'x'));
  while (!world.streamer_is_gone()) std::this_thread::yield();
  write(world, "nobody reads this");
  end(world);
  while (peer.next()) {
  }
  EXPECT_FALSE(peer.is_whole());
}

TEST(HttpStream, of_a_client_that_takes_it_slowly_goes_on_past_the_limit) {
  using Clock = std::chrono::steady_clock;
  HttpServer::Options options;
  options.write_max = std::chrono::milliseconds(600);
  const std::string all(16 << 20, 'x');
  for (const bool is_stream : {true, false}) {
    bool was_late = true;  // the client, by this machine's load: then it proves nothing
    for (int tries = 0; was_late && tries < 20; ++tries) {
      was_late = false;
      HttpWorld world(options, [&all](const HttpRequest&) {
        HttpAdmission admission;
        admission.begin = [&all](const HttpRequest&, const HttpReplier& reply) {
          reply({.body = all});
        };
        return admission;
      });
      RawPeer peer = world.peer();
      ASSERT_TRUE(peer.send(RawPeer::request("GET", is_stream ? "/stream" : "/whole")));
      if (is_stream) {
        write(world, all);
        end(world);
      }
      const auto began = Clock::now();
      size_t taken = peer.read_some().size();
      for (auto last = began; last - began < 3 * options.write_max;) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        taken += peer.read_some().size();
        was_late |= Clock::now() - last > options.write_max / 3;
        last = Clock::now();
      }
      ASSERT_LT(taken, all.size());
      taken += take_up_to(peer, all.size() - taken);
      EXPECT_TRUE(taken >= all.size() || was_late) << taken;
    }
    EXPECT_FALSE(was_late) << "this machine is too busy for this test";
  }
}

TEST(HttpStream, of_more_than_the_budget_that_its_client_has_not_taken_is_cut) {
  HttpWorld world;
  RawPeer peer = world.peer();
  ASSERT_TRUE(peer.send(kAsk));
  for (int mib = 0; mib < 40; ++mib) write(world, std::string(1 << 20, 'x'));
  while (!world.streamer_is_gone()) std::this_thread::yield();
  EXPECT_LT(rest_of(peer).size(), size_t{40} << 20);
  EXPECT_EQ(world.answers().refused, 1);
  end(world);
  while (world.answers().used_bytes != 0) std::this_thread::yield();
  EXPECT_EQ(world.peer().call("GET", "/ok").body, "ok");
}

TEST(HttpStream, whose_client_goes_away_is_told_so) {
  HttpServer::Options options;
  options.tcp = {{"127.0.0.1", 0}};
  HttpWorld world(options);
  for (const bool by_tcp : {false, true}) {
    SCOPED_TRACE(by_tcp);
    RawPeer peer = by_tcp ? world.tcp_peer(0) : world.peer();
    ASSERT_TRUE(peer.send(kAsk));
    EXPECT_EQ(peer.read_head().status, 200);
    peer.close();
    // Over TCP what is written finds out.
    while (!world.streamer_is_gone()) write(world, "data: a\n\n");
    end(world);
    while (world.figures().connections.open != 0) std::this_thread::yield();
    world.forget_the_stream();
  }
}

TEST(HttpStream, of_a_tcp_client_that_only_ended_its_sending_is_whole) {
  HttpServer::Options options;
  options.tcp = {{"127.0.0.1", 0}};
  HttpWorld world(options);
  RawPeer peer = world.tcp_peer(0);
  ASSERT_TRUE(peer.send(kAsk));
  EXPECT_EQ(peer.read_head().status, 200);
  ::shutdown(peer.fd(), SHUT_WR);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  write(world, "all of it");
  end(world);
  EXPECT_EQ(rest_of(peer), "9\r\nall of it\r\n0\r\n\r\n");
}

}  // namespace
}  // namespace parkd::testing
