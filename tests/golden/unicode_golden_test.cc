// What each code point of Unicode is to the splitting rules, against what it is to tokenizers.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/text/pre_tokenizer.h"
#include "tests/golden/golden_files.h"

namespace parkd {
namespace {

using Ranges = testing::GoldenClasses::Ranges;

std::string utf8(uint32_t code) {
  const auto byte = [](uint32_t bits) { return static_cast<char>(bits); };
  const auto tail = [&](int shift) { return byte(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x80) return {byte(code)};
  if (code < 0x800) return {byte(0xc0 | code >> 6), tail(0)};
  if (code < 0x10000) return {byte(0xe0 | code >> 12), tail(6), tail(0)};
  return {byte(0xf0 | code >> 18), tail(12), tail(6), tail(0)};
}

using Codes = std::vector<uint32_t>;  // ascending

Codes codes_of(const Ranges& ranges) {
  Codes codes;
  for (const auto& [first, last] : ranges) {
    for (uint32_t code = first; code <= last; ++code) codes.push_back(code);
  }
  return codes;
}

// The code points that the rule joins to `side` on both sides of it, or parts from both.
enum class Seam { joined, apart };

Codes codes_where(std::string_view rule, std::string_view side, Seam seam) {
  std::string text;
  std::vector<std::pair<uint32_t, size_t>> places;  // a code point and where it stands
  for (uint32_t code = 0; code < 0x110000; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    text += side;
    places.emplace_back(code, text.size());
    text += utf8(code);
    text += side;
    text += "\n";
  }
  std::vector<std::string_view> words;
  PreTokenizer made;
  EXPECT_TRUE(made.add_rule(*find_split_rule(rule)).ok() && made.split(text, words).ok());
  std::vector<bool> begins_word(text.size(), false);
  for (const std::string_view word : words) {
    begins_word[static_cast<size_t>(word.data() - text.data())] = true;
  }
  Codes codes;
  for (const auto& [code, at] : places) {
    const bool left = begins_word[at];
    const bool right = begins_word[at + utf8(code).size()];
    if (seam == Seam::joined ? !left && !right : left && right) codes.push_back(code);
  }
  return codes;
}

void expect_same(const Codes& ours, const Ranges& ranges) {
  const Codes reference = codes_of(ranges);
  const auto listed = [](const Codes& all, const Codes& without) {
    Codes rest;
    std::set_difference(all.begin(), all.end(), without.begin(), without.end(),
                        std::back_inserter(rest));
    std::ostringstream text;
    text << std::hex;
    for (const uint32_t code : rest) text << " " << code;
    return text.str();
  };
  EXPECT_TRUE(ours == reference) << "ours alone:" << listed(ours, reference)
                                 << "\nthe reference's alone:" << listed(reference, ours);
}

TEST(UnicodeGolden, letters_are_the_references) {
  const Ranges letters = testing::load_golden_classes().letters;
  ASSERT_GT(letters.size(), 600U);
  expect_same(codes_where("gpt-2", "a", Seam::joined), letters);
  expect_same(codes_where("llama-bpe", "a", Seam::joined), letters);
}

TEST(UnicodeGolden, numbers_are_the_references) {
  const Ranges numbers = testing::load_golden_classes().numbers;
  ASSERT_GT(numbers.size(), 100U);
  expect_same(codes_where("gpt-2", "1", Seam::joined), numbers);
  expect_same(codes_where("llama-bpe", "1", Seam::joined), numbers);
}

// A letter joins letters and a mark joins marks, so what joins neither is a digit or a space.
TEST(UnicodeGolden, single_digits_are_the_references) {
  const Codes from_letters = codes_where("smollm", "a", Seam::apart);
  const Codes from_marks = codes_where("smollm", "!", Seam::apart);
  Codes digits;
  std::set_intersection(from_letters.begin(), from_letters.end(), from_marks.begin(),
                        from_marks.end(), std::back_inserter(digits));
  const Codes spaces = codes_of({{0x9, 0xd},
                                 {0x20, 0x20},
                                 {0x85, 0x85},
                                 {0xa0, 0xa0},
                                 {0x1680, 0x1680},
                                 {0x2000, 0x200a},
                                 {0x2028, 0x2029},
                                 {0x202f, 0x202f},
                                 {0x205f, 0x205f},
                                 {0x3000, 0x3000}});
  std::erase_if(digits, [&](uint32_t code) {
    return std::binary_search(spaces.begin(), spaces.end(), code);
  });
  expect_same(digits, testing::load_golden_classes().digits);
}

}  // namespace
}  // namespace parkd
