// The value of JSON apart from how it is written.
#include "lib/base/json_value_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "lib/base/text.h"

namespace parkd {
namespace {

std::string text_of(std::string_view json) {
  const auto value = JsonValueText::of(json);
  return value ? value->text() : "no value: " + std::string(json);
}

TEST(JsonValueText, a_number_counts_by_its_exact_decimal_value) {
  for (const char* same : {"4", "4.0", "40e-1", "0.4E+1", "400e-2", "4.000", "0.00004e5"}) {
    EXPECT_EQ(decimal_value(same), "4e0") << same;
  }
  for (const char* zero : {"0", "-0", "0.0", "-0.000", "0e5", "0E-5", "0e100000"}) {
    EXPECT_EQ(decimal_value(zero), "0") << zero;
  }
  EXPECT_EQ(decimal_value("-1.250"), "-125e-2");
  EXPECT_EQ(decimal_value("18446744073709551617"), "18446744073709551617e0") << "past 64 bits";
  EXPECT_NE(decimal_value("0.1"), decimal_value("0.1000000000000000055511151231257827"))
      << "one double, two numbers";
  EXPECT_EQ(decimal_value("1e400"), "1e400") << "past a double";
  EXPECT_EQ(decimal_value("1e131071"), "1e131071");
  EXPECT_EQ(decimal_value("1e131072"), std::nullopt);
  EXPECT_EQ(decimal_value("0.1e131072"), "1e131071");
  EXPECT_EQ(decimal_value("1e-16383"), "1e-16383");
  EXPECT_EQ(decimal_value("1e-16384"), std::nullopt);
  EXPECT_EQ(decimal_value("1e99999999999999999999"), std::nullopt);
  EXPECT_EQ(decimal_value("1e-99999999999999999999"), std::nullopt);
  EXPECT_EQ(decimal_value("1e9223372036854775807"), std::nullopt);
}

TEST(JsonValueText, what_differs_in_writing_alone_is_one_value) {
  const std::string once = text_of(R"({"a":[1,{"x":2.50,"y":"é\n"},[]],"b":{},"c":null})");
  for (const char* same : {
           R"( { "c" : null , "b" : { } , "a" : [ 1.0 , { "y" : "é\n" , "x" : 25e-1 } , [ ] ] } )",
           R"({"\u0061":[1,{"x":2.5,"\u0079":"\u00e9\u000a"},[]],"b":{},"c":null})",
           R"({"c":7,"b":{},"a":[10e-1,{"x":1,"y":"é\n","x":2.5},[]],"c":null})",
       }) {
    EXPECT_EQ(text_of(same), once) << same;
  }
}

TEST(JsonValueText, values_that_differ_have_texts_that_differ) {
  const std::vector<std::string> all = {"[]",
                                        "{}",
                                        "null",
                                        "true",
                                        "false",
                                        "0",
                                        "1",
                                        "\"1\"",
                                        "\"\"",
                                        "[[]]",
                                        "[{}]",
                                        "[[],[]]",
                                        "[1,2]",
                                        "[2,1]",
                                        "[12]",
                                        "[[1],2]",
                                        "[[1,2]]",
                                        "[\"1,2\"]",
                                        R"({"a":1})",
                                        R"({"a":"1"})",
                                        R"({"a":[1]})",
                                        R"({"a":{"b":1}})",
                                        R"({"a":{},"b":1})",
                                        R"({"a":1,"b":2})",
                                        R"({"a":2,"b":1})",
                                        R"({"a:1,b":2})",
                                        R"({"a\":1,\"b":2})",
                                        R"(["\\"])",
                                        R"(["\""])",
                                        R"(["\\u0041"])",
                                        R"(["A"])",
                                        R"({"A":1})",
                                        R"({"":{}})",
                                        R"({"":[]})"};
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(text_of(all[i]), text_of(all[j])) << all[i] << all[j];
  }
}

TEST(JsonValueText, what_has_no_value_is_told) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("{}x"), std::string(R"(["\u0000"])"),
        std::string(R"({"\u0000":1})"), std::string(R"(["\ud800"])"), std::string("[1e999999]"),
        std::string("[\"\xff\"]"), std::string(2000, '[')}) {
    EXPECT_FALSE(JsonValueText::of(text)) << text;
  }
}

TEST(JsonValueText, members_are_asked_for_and_dropped) {
  auto value = JsonValueText::of(R"({"b":1,"mod\u0065l":"m","a":{"model":2}})");
  ASSERT_TRUE(value);
  EXPECT_TRUE(value->has("model"));
  EXPECT_FALSE(value->has("seed"));
  value->drop("model");
  value->drop("seed");
  EXPECT_EQ(value->text(), text_of(R"({"a":{"model":2},"b":1})"));
  EXPECT_FALSE(JsonValueText::of("[1]")->has("model"));
}

// --- the same value written in some other way, and another value

struct Value {
  enum Kind { null, truth, number, text, array, object } kind = null;
  bool is_true = false;
  std::string digits;  // of a number: without zeros at either end
  int power = 0;
  std::vector<std::string> characters;  // of a text
  std::vector<Value> elements;
  std::vector<std::vector<std::string>> names;  // of an object, each once
};

using Random = std::mt19937_64;

std::vector<std::string> some_text(Random& random) {
  static const std::vector<std::string> kCharacters = {"a", "b", "0", ".", "\"", "\\",   "/", "\n",
                                                       "{", ",", "é", "★", "😀",  "\x7f", " "};
  std::vector<std::string> text;
  for (uint64_t n = random() % 5; n > 0; --n)
    text.push_back(kCharacters[random() % kCharacters.size()]);
  return text;
}

Value some_value(Random& random, int depth) {
  Value value;
  value.kind = static_cast<Value::Kind>(random() % (depth > 0 ? 6 : 4));
  value.is_true = random() % 2 == 0;
  if (value.kind == Value::number) {
    value.digits = random() % 8 == 0
                       ? ""
                       : std::to_string(1 + random() % (random() % 2 == 0 ? 9 : UINT64_MAX - 1));
    while (!value.digits.empty() && value.digits.back() == '0') value.digits.pop_back();
    value.power = static_cast<int>(random() % 60) - 30;
    if (!value.digits.empty() && random() % 3 == 0) value.digits.insert(0, "-");
  }
  if (value.kind == Value::text) value.characters = some_text(random);
  if (value.kind >= Value::array) {
    for (uint64_t n = random() % 5; n > 0; --n) {
      auto name = some_text(random);
      if (value.kind == Value::object) {
        if (std::find(value.names.begin(), value.names.end(), name) != value.names.end()) continue;
        value.names.push_back(std::move(name));
      }
      value.elements.push_back(some_value(random, depth - 1));
    }
  }
  return value;
}

std::string written_number(const Value& value, Random& random) {
  if (value.digits.empty()) {
    const char* zeros[] = {"0", "-0", "0.00", "0e7", "-0.0E-3"};
    return zeros[random() % 5];
  }
  std::string digits = value.digits;
  const bool is_negative = digits.front() == '-';
  if (is_negative) digits.erase(0, 1);
  int power = value.power;
  for (uint64_t n = random() % 3; n > 0; --n, --power) digits += '0';
  const size_t point = 1 + random() % digits.size();  // that many before it
  power += static_cast<int>(digits.size() - point);
  std::string out = is_negative ? "-" : "";
  out += digits.substr(0, point);
  if (point < digits.size()) out += "." + digits.substr(point);
  if (power != 0 || random() % 2 == 0) {
    out += random() % 2 == 0 ? "e" : "E";
    if (power >= 0 && random() % 2 == 0) out += "+";
    out += std::to_string(power);
  }
  return out;
}

std::string written_text(const std::vector<std::string>& characters, Random& random) {
  std::string out = "\"";
  for (const std::string& c : characters) {
    const auto byte = static_cast<unsigned char>(c[0]);
    if (c.size() == 1 && (random() % 3 == 0 || byte < ' ')) {
      char escape[8];
      std::snprintf(escape, sizeof escape, random() % 2 == 0 ? "\\u%04x" : "\\u%04X", byte);
      out += escape;
    } else if (c == "\"" || c == "\\") {
      out += "\\" + c;
    } else if (c == "é" && random() % 2 == 0) {
      out += "\\u00E9";
    } else if (c == "😀" && random() % 2 == 0) {
      out += "\\ud83d\\uDE00";
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string space(Random& random) {
  const char* spaces[] = {"", "", " ", "\n", "\t ", "\r\n"};
  return spaces[random() % 6];
}

std::string written(const Value& value, Random& random) {
  switch (value.kind) {
    case Value::null:
      return "null";
    case Value::truth:
      return value.is_true ? "true" : "false";
    case Value::number:
      return written_number(value, random);
    case Value::text:
      return written_text(value.characters, random);
    default:
      break;
  }
  const bool is_object = value.kind == Value::object;
  std::vector<size_t> order(value.elements.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (is_object) std::shuffle(order.begin(), order.end(), random);
  std::string out = is_object ? "{" : "[";
  for (const size_t i : order) {
    if (out.size() > 1) out += ",";
    out += space(random);
    if (is_object)
      out += written_text(value.names[i], random) + space(random) + ":" + space(random);
    out += written(value.elements[i], random) + space(random);
  }
  return out + (is_object ? "}" : "]");
}

// Changes one value somewhere in it.
void change(Value& value, Random& random) {
  if (value.kind >= Value::array && !value.elements.empty() && random() % 3 != 0) {
    return change(value.elements[random() % value.elements.size()], random);
  }
  switch (value.kind) {
    case Value::null:
      value.kind = Value::truth;
      return;
    case Value::truth:
      value.is_true = !value.is_true;
      return;
    case Value::number:
      value.power += value.digits.empty() ? 0 : 1;
      if (value.digits.empty()) value.digits = "1";
      return;
    case Value::text:
      value.characters.push_back("x");
      return;
    default:
      value.elements.push_back({});
      if (value.kind == Value::object) value.names.push_back({"a", "name", "that is", "new"});
  }
}

TEST(JsonValueText, a_value_is_itself_however_it_is_written_and_no_other) {
  const uint64_t seed = random_u64() % 1'000'000;
  std::cout << "seed " << seed << "\n";
  Random random(seed);
  for (int round = 0; round < 5000; ++round) {
    Value value = some_value(random, 4);
    const std::string first = written(value, random);
    const std::string again = written(value, random);
    const std::string text = text_of(first);
    ASSERT_EQ(text, text_of(again)) << first << "\n" << again;
    ASSERT_EQ(text, text_of(text)) << "it is JSON of the same value";
    change(value, random);
    const std::string other = written(value, random);
    ASSERT_NE(text, text_of(other)) << first << "\n" << other;
  }
}

}  // namespace
}  // namespace parkd
