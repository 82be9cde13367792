#include "lib/base/json_writer.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <limits>
#include <string>

namespace parkd {
namespace {

TEST(JsonWriter, puts_commas_between_what_is_nested) {
  JsonWriter json;
  json.begin_object().member("a", 1).begin_array("b");
  json.element(1).element("two").begin_object().end_object().begin_array().end_array();
  json.begin_object().member("c", nullptr).end_object().end_array();
  json.begin_object("d").member("e", true).member("f", false).end_object().end_object();
  const std::string text = json.take();
  EXPECT_EQ(text, R"({"a":1,"b":[1,"two",{},[],{"c":null}],"d":{"e":true,"f":false}})");
  EXPECT_NO_THROW(boost::json::parse(text));
}

TEST(JsonWriter, what_is_empty_stays_so) {
  EXPECT_EQ(JsonWriter().begin_object().end_object().take(), "{}");
  EXPECT_EQ(JsonWriter().begin_array().end_array().take(), "[]");
  EXPECT_EQ(JsonWriter().begin_object().begin_array("a").end_array().end_object().take(),
            R"({"a":[]})");
}

// Only the JSON's own bytes say whether a comma is due, so a value may look like an opening one.
TEST(JsonWriter, texts_that_look_like_brackets_or_colons_are_values) {
  JsonWriter json;
  json.begin_array().element("{").element("[").element(":").element("").element(RawJson{"[]"});
  EXPECT_EQ(json.element(1).end_array().take(), R"(["{","[",":","",[],1])");
}

TEST(JsonWriter, keys_and_texts_are_escaped_and_repaired) {
  JsonWriter json;
  json.begin_object().member("a\"b\\", std::string("q\" \\ \n\r\t\x01\x1f\x7f \xc3\xa9 \xff"));
  const std::string text = json.end_object().take();
  EXPECT_EQ(text,
            "{\"a\\\"b\\\\\":\"q\\\" \\\\ \\n\\r\\t\\u0001\\u001f\x7f \xc3\xa9 \xef\xbf\xbd\"}");
  EXPECT_NO_THROW(boost::json::parse(text));
  EXPECT_EQ(json_string("a\"b"), R"("a\"b")");
}

TEST(JsonWriter, what_was_read_is_passed_on_as_it_stands) {
  JsonWriter json;
  json.begin_object().member("body", RawJson{R"({ "n" : 1.0e5 })"}).member("none", RawJson{""});
  EXPECT_EQ(json.end_object().take(), R"({"body":{ "n" : 1.0e5 },"none":null})");
}

TEST(JsonWriter, whole_numbers_of_every_size_are_exact) {
  JsonWriter json;
  json.begin_array();
  json.element(std::numeric_limits<int64_t>::min()).element(std::numeric_limits<int64_t>::max());
  json.element(std::numeric_limits<uint64_t>::max()).element(uint8_t{200}).element(int32_t{-7});
  EXPECT_EQ(json.end_array().take(),
            "[-9223372036854775808,9223372036854775807,18446744073709551615,200,-7]");
}

TEST(JsonWriter, a_float_is_the_shortest_text_that_reads_back_as_it) {
  JsonWriter json;
  json.begin_array().element(0.1F).element(-0.0F).element(1e-20F).element(-9999.0F).element(
      16777216.0F);
  EXPECT_EQ(json.end_array().take(), "[0.1,-0,1e-20,-9999,16777216]");
}

TEST(JsonWriter, what_is_not_finite_is_null) {
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  JsonWriter json;
  json.begin_array().element(kInfinite).element(-kInfinite).element(kInfinite - kInfinite);
  json.element(SixDigits{-std::numeric_limits<double>::infinity()});
  EXPECT_EQ(json.end_array().take(), "[null,null,null,null]");
}

TEST(JsonWriter, figures_and_thousandths_have_their_digits) {
  JsonWriter json;
  json.begin_array().element(SixDigits{1234567}).element(SixDigits{0.5}).element(Thousandths{0});
  json.element(Thousandths{12'345}).element(Thousandths{12'005}).element(Thousandths{-1});
  EXPECT_EQ(json.end_array().take(), "[1.23457e+06,0.5,0.000,12.345,12.005,0.000]");
}

TEST(JsonWriter, an_empty_text_may_be_null) {
  JsonWriter json;
  json.begin_object().member("a", TextOrNull{""}).member("b", TextOrNull{"x"}).member("c", "");
  EXPECT_EQ(json.end_object().take(), R"({"a":null,"b":"x","c":""})");
}

TEST(JsonWriter, goes_on_behind_what_is_no_json) {
  EXPECT_EQ(JsonWriter("data: ").begin_array().element(1).end_array().take(), "data: [1]");
}

TEST(JsonWriterDeathTest, what_is_not_ended_is_not_given) {
  EXPECT_DEATH(JsonWriter().begin_object().take(), "was not ended");
  EXPECT_DEATH(JsonWriter().end_array(), "was not begun");
}

}  // namespace
}  // namespace parkd
