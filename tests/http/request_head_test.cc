#include "lib/http/request_head.h"

#include <gtest/gtest.h>

#include <string>

namespace parkd {
namespace {

TEST(Url, escapes_are_decoded_or_refused) {
  std::string out;
  EXPECT_TRUE(url_decode("a%2Fb%20c", out));
  EXPECT_EQ(out, "a/b c");
  EXPECT_TRUE(url_decode("%41", out));
  EXPECT_EQ(out, "A");
  for (const char* broken : {"%", "%4", "%zz", "x%4g"}) EXPECT_FALSE(url_decode(broken, out));
}

TEST(RequestHead, path_and_query_are_decoded_and_the_last_of_equal_names_counts) {
  boost::beast::http::request_header<> header;
  header.method_string("HEAD");
  header.target("/v1/mailbox/a%2Fb?limit=1&x=%41&limit=2&empty");
  header.set("X-Parkd-Tenant", "lab");
  const RequestHead head = read_request_head(header);
  ASSERT_FALSE(head.refusal.has_value());
  EXPECT_TRUE(head.request.is_head);
  EXPECT_EQ(head.request.method, "GET");
  EXPECT_EQ(head.request.path, "/v1/mailbox/a/b");
  const std::map<std::string, std::string> expected = {{"limit", "2"}, {"x", "A"}, {"empty", ""}};
  EXPECT_EQ(head.request.query, expected);
  EXPECT_EQ(head.request.tenant, "lab");
}

TEST(RequestHead, has_the_token_of_a_bearer_and_of_nobody_else) {
  const auto token_of = [](const char* authorization) {
    boost::beast::http::request_header<> header;
    header.set(boost::beast::http::field::authorization, authorization);
    return read_request_head(header).request.token;
  };
  EXPECT_EQ(token_of("Bearer abc"), "abc");
  EXPECT_EQ(token_of("bearer   abc"), "abc");
  for (const char* other : {"", "Bearer", "Bearer ", "Basic abc", "Bearerabc", "abc"}) {
    EXPECT_EQ(token_of(other), "") << other;
  }
}

TEST(RequestHead, has_what_is_asked_of_a_file_and_from_where_as_they_stand) {
  boost::beast::http::request_header<> header;
  EXPECT_EQ(read_request_head(header).request.range, "");
  EXPECT_EQ(read_request_head(header).request.origin, "");
  header.set("range", "bytes=0-9, -5");
  header.set("origin", "https://example.org");
  EXPECT_EQ(read_request_head(header).request.range, "bytes=0-9, -5");
  EXPECT_EQ(read_request_head(header).request.origin, "https://example.org");
}

TEST(RequestHead, two_hosts_are_refused) {
  boost::beast::http::request_header<> header;
  header.insert("Host", "a");
  EXPECT_EQ(read_request_head(header).request.host, "a");
  header.insert("Host", "b");
  ASSERT_TRUE(read_request_head(header).refusal.has_value());
  EXPECT_EQ(read_request_head(header).refusal->status, 400);
}

}  // namespace
}  // namespace parkd
