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
  EXPECT_TRUE(head.is_head);
  EXPECT_EQ(head.request.method, "GET");
  EXPECT_EQ(head.request.path, "/v1/mailbox/a/b");
  const std::map<std::string, std::string> expected = {{"limit", "2"}, {"x", "A"}, {"empty", ""}};
  EXPECT_EQ(head.request.query, expected);
  EXPECT_EQ(head.request.tenant, "lab");
}

}  // namespace
}  // namespace parkd
