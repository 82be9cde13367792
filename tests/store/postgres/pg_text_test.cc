#include "lib/store/postgres/pg_text.h"

#include <gtest/gtest.h>

#include "lib/base/text.h"

namespace parkd {
namespace {

TEST(PgText, an_array_literal_quotes_what_must_be_quoted) {
  ArrayText array;
  array.add(std::string_view("a\"b\\c{d},e"));
  array.add(std::string_view(""));
  array.add(std::string_view("NULL"));
  array.add_null();
  EXPECT_EQ(array.take(), R"({"a\"b\\c{d},e","","NULL",NULL})");
  array.add(int64_t{-5});
  array.add(std::optional<int64_t>());
  array.add(true);
  EXPECT_EQ(array.take(), "{-5,NULL,t}");
  EXPECT_EQ(array.take(), "{}");
}

TEST(PgText, keys_with_nul_come_back_and_stay_different) {
  const std::string escape = "\xf4\x8f\xbf\xbe";
  for (const std::string& text : {std::string("plain"), std::string("b\0c", 3), escape + "0",
                                  escape, std::string("\0", 1) + escape + std::string("\0\0", 2)}) {
    const std::string stored = encode_text(text);
    EXPECT_EQ(stored.find('\0'), stored.npos);
    EXPECT_TRUE(is_valid_utf8(stored));
    EXPECT_EQ(decode_text(stored), text);
  }
  EXPECT_NE(encode_text(std::string("\0", 1)), encode_text(escape + "0"));
}

TEST(PgText, json_keeps_its_bytes_unless_postgres_could_not_read_them) {
  for (const char* same : {R"({"a":"b\nc\u00e9"})", R"("\ud83d\ude00")", R"("\\u0000")", R"([1,2])",
                           "{\"a\":\"\xc3\xa9\"}"}) {
    EXPECT_EQ(storable_json(same), same);
  }
  EXPECT_EQ(storable_json(R"("a\u0000b")"), R"("a\ufffdb")");
  EXPECT_EQ(storable_json(R"("\ud83dx")"), R"("\ufffdx")");
  EXPECT_EQ(storable_json(R"("\ude00")"), R"("\ufffd")");
  EXPECT_EQ(storable_json(R"("\ud83d\ud83d\ude00")"), R"("\ufffd\ud83d\ude00")");
  EXPECT_EQ(storable_json("\"\xff\""), "\"\xef\xbf\xbd\"");
}

TEST(PgText, a_wrapped_body_comes_back) {
  for (const std::string& body :
       {std::string("no json"), std::string("a\"b\\c\n\t\x01 \xc3\xa9"), std::string()}) {
    std::string wrapped;
    append_json_string(wrapped, body);
    EXPECT_EQ(unwrap_json_string(wrapped), body);
  }
  EXPECT_EQ(unwrap_json_string(R"({"a":1})"), R"({"a":1})");
}

TEST(PgText, bytes_are_digits_and_come_back) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string text = bytea_text(all);
  EXPECT_EQ(text.substr(0, 10), "\\x00010203");
  EXPECT_EQ(text.substr(text.size() - 4), "feff");
  EXPECT_EQ(bytes_of_hex(std::string_view(text).substr(2)), all);
  EXPECT_EQ(bytea_text(""), "\\x");
  for (const char* bad : {"", "0", "0g", "0G", "A0", "00 "})
    EXPECT_EQ(bytes_of_hex(bad), "") << bad;
}

}  // namespace
}  // namespace parkd
