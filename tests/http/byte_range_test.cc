#include "lib/http/byte_range.h"

#include <gtest/gtest.h>

#include <string>

namespace parkd {
namespace {

TEST(ByteRange, is_read_as_rfc_9110_says) {
  const struct {
    std::string header;
    ByteRange range;
  } good[] = {
      {"bytes=0-0", {0, 1}},  {"bytes=0-9", {0, 10}},  {"bytes=3-", {3, 7}},
      {"bytes=9-9", {9, 1}},  {"bytes=-1", {9, 1}},    {"bytes=-10", {0, 10}},
      {"bytes=-11", {0, 10}}, {"bytes=5-100", {5, 5}}, {"bytes=0-99999999999999999999", {0, 10}},
  };
  for (const auto& [header, range] : good) {
    const auto read = read_range(header, 10);
    ASSERT_TRUE(read.ok()) << header << ": " << read.status().to_string();
    EXPECT_EQ(*read, range) << header;
  }
}

TEST(ByteRange, what_is_none_or_another_is_passed_over) {
  for (const char* header :
       {"", "bytes", "bytes=", "bytes=-", "lines=1-2", "bytes=5-4", "bytes=1-2,4-5", "bytes=a-b",
        "bytes=1-2x", "bytes=--1", "bytes= 1-2", "Bytes=1-2", "bytes=+1-2"}) {
    const auto read = read_range(header, 10);
    ASSERT_TRUE(read.ok()) << header;
    EXPECT_FALSE(read->has_value()) << header;
  }
}

TEST(ByteRange, where_there_are_no_bytes_is_an_error) {
  for (const char* header :
       {"bytes=10-", "bytes=10-11", "bytes=99999999999999999999-", "bytes=-0"}) {
    EXPECT_EQ(read_range(header, 10).status().code(), StatusCode::invalid) << header;
  }
  EXPECT_FALSE(read_range("bytes=0-", 0).ok());
  EXPECT_FALSE(read_range("bytes=-5", 0).ok());
  EXPECT_FALSE(read_range("", 0)->has_value());
}

}  // namespace
}  // namespace parkd
