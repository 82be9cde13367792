#include "lib/base/raw_json.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <iostream>
#include <random>

#include "lib/base/text.h"

namespace parkd {
namespace {

namespace json = boost::json;

json::value some_value(std::mt19937_64& random, int depth) {
  switch (random() % (depth > 0 ? 6 : 4)) {
    case 0:
      return static_cast<int64_t>(random() % 1000) - 500;
    case 1:
      return random() % 2 == 0 ? json::value(nullptr) : json::value(true);
    case 2:
      return "a \"quoted\\\" ] } , : \n text";
    case 3:
      return 0.25 * static_cast<double>(random() % 100);
    case 4: {
      json::array array;
      for (uint64_t i = random() % 4; i > 0; --i) array.push_back(some_value(random, depth - 1));
      return array;
    }
    default: {
      json::object object;
      for (uint64_t i = random() % 4; i > 0; --i) {
        object["k" + std::to_string(i) + "\\\""] = some_value(random, depth - 1);
      }
      return object;
    }
  }
}

TEST(RawJson, members_and_elements_are_what_a_parser_finds) {
  const uint64_t seed = random_u64() % 1'000'000;
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    json::object object;
    json::array array;
    for (int i = 0; i < 4; ++i) {
      object["key" + std::to_string(i)] = some_value(random, 3);
      array.push_back(some_value(random, 3));
    }
    const std::string object_text = json::serialize(object);
    for (const auto& member : object) {
      EXPECT_EQ(raw_member(object_text, member.key()), json::serialize(member.value()))
          << object_text;
    }
    const std::string array_text = json::serialize(array);
    const auto elements = raw_elements(array_text);
    ASSERT_EQ(elements.size(), array.size()) << array_text;
    for (size_t i = 0; i < array.size(); ++i) EXPECT_EQ(elements[i], json::serialize(array[i]));
  }
}

TEST(RawJson, white_space_and_empty_values_are_no_trouble) {
  EXPECT_EQ(raw_member(" { \"a\" : 1.50 ,\n\"b\": [ ] } ", "a"), "1.50");
  EXPECT_EQ(raw_member(" { \"a\" : 1.50 ,\n\"b\": [ ] } ", "b"), "[ ]");
  EXPECT_EQ(raw_member("{}", "a"), "null");
  EXPECT_TRUE(raw_elements("[]").empty());
  EXPECT_TRUE(raw_elements("null").empty());
  EXPECT_EQ(raw_elements("[ 1 , {} ]"), (std::vector<std::string_view>{"1", "{}"}));
}

TEST(RawJson, a_value_ends_in_the_text_whatever_it_is) {
  EXPECT_EQ(raw_value_end(R"({"a}":"\"}"};{})"), 12U);
  EXPECT_EQ(raw_value_end("[1, {}] "), 7U);
  EXPECT_EQ(raw_value_end("12 3", 1), 2U);
  EXPECT_EQ(raw_value_end(R"({"a)"), 3U) << "it is not complete";
  EXPECT_EQ(raw_value_end(R"("\)"), 2U);
  EXPECT_EQ(raw_value_end(R"("a)"), 2U);
  EXPECT_EQ(raw_value_end(",1"), 1U) << "what is no value is passed";
  EXPECT_EQ(raw_value_end("}"), 1U);
  EXPECT_EQ(raw_value_end(""), 0U);
}

// As where a disk lost the end of what was stored.
TEST(RawJson, of_a_text_that_is_cut_off_nothing_is_read_behind_its_end) {
  const std::string whole = R"({ "a\"" : [1,{}], "b" : "\u00e9" , "c":{"d":[]}} )";
  for (size_t n = 0; n < whole.size(); ++n) {
    const std::string text = whole.substr(0, n);  // so that a sanitizer sees who reads further
    for (const std::string name : {"a\"", "b", "c", "e"}) {
      EXPECT_LE(raw_member(text, name).size(), std::max<size_t>(n, 4)) << text;
    }
    EXPECT_EQ(RawObject(text).text(), text);
  }
}

TEST(RawJson, a_name_written_with_escapes_is_that_name) {
  EXPECT_EQ(raw_member(R"({"\u0062ody":{"a":1},"x\"":2})", "body"), R"({"a":1})");
  EXPECT_EQ(raw_member(R"({"\u0062ody":{"a":1},"x\"":2})", "x\""), "2");
}

TEST(RawJson, what_is_not_touched_keeps_its_bytes) {
  const std::string given = R"( {"a" : 1.50, "b\u0063":[ 1 ],"c":"\u00e9"} )";
  RawObject object(given);
  EXPECT_EQ(object.text(), given);
  object.erase("there is none");
  EXPECT_EQ(object.text(), given);
  EXPECT_TRUE(object.contains("bc"));
  EXPECT_EQ(object.get("a"), "1.50");
  EXPECT_EQ(object.get("d"), "null");
  object.set("a", "2e0");
  object.set_text("d", "q\"");
  object.erase("c");
  EXPECT_EQ(object.text(), R"({"a":2e0,"b\u0063":[ 1 ],"d":"q\""})");
  object.erase("a");
  object.erase("bc");
  object.erase("d");
  EXPECT_EQ(object.text(), "{}");
}

}  // namespace
}  // namespace parkd
