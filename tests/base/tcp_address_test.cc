#include "lib/base/tcp_address.h"

#include <gtest/gtest.h>

#include <string>

namespace parkd {
namespace {

TEST(TcpAddress, is_an_ip_and_a_port) {
  for (const char* text : {"127.0.0.1:8080", "0.0.0.0:0", "[::1]:65535", "[2001:db8::1]:80"}) {
    const auto address = read_tcp_address(text);
    ASSERT_TRUE(address.ok()) << text << " " << address.status().to_string();
    EXPECT_EQ(address->to_string(), text);
  }
  EXPECT_EQ(read_tcp_address("[0:0::1]:80")->to_string(), "[::1]:80") << "one form of each";
  using namespace std::string_literals;
  for (const std::string& text :
       {""s, "8080"s, ":8080"s, "127.0.0.1"s, "127.0.0.1:"s, "127.0.0.1:65536"s, "127.0.0.1:+1"s,
        "127.0.0.1:-1"s, "127.0.0.1:8080x"s, "127.1:80"s, "127.0.0.1 :80"s, "::1:80"s, "[::1]80"s,
        "[127.0.0.1]:80"s, "[]:80"s, "localhost:80"s, "127.0.0.1\0x:80"s}) {
    EXPECT_EQ(read_tcp_address(text).status().code(), StatusCode::invalid) << text;
  }
}

TEST(TcpAddress, knows_what_no_other_machine_reaches) {
  for (const char* near : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1"}) {
    EXPECT_TRUE(read_tcp_address(near)->is_loopback()) << near;
  }
  for (const char* far :
       {"0.0.0.0:1", "[::]:1", "192.0.2.127:1", "12.7.0.0:1", "[::ffff:7f00:1]:1"}) {
    EXPECT_FALSE(read_tcp_address(far)->is_loopback()) << far;
  }
}

TEST(TcpAddress, tells_addresses_from_names) {
  for (const char* ip : {"127.0.0.1", "::1", "2001:db8::1"}) EXPECT_TRUE(is_ip_literal(ip)) << ip;
  for (const char* name : {"", "localhost", "127.1", "1", "0x7f.1", "[::1]", "evil.example"}) {
    EXPECT_FALSE(is_ip_literal(name)) << name;
  }
}

}  // namespace
}  // namespace parkd
