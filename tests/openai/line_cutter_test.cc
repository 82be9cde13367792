#include "lib/openai/line_cutter.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <functional>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "tests/support/batch_lines.h"

namespace parkd {
namespace {

using testing::lines_in;
using testing::TextLine;

constexpr std::string_view kMark = "\xEF\xBB\xBF";

// The lines of a file from `offset` on, fed in pieces of `next_cut` bytes each.
std::vector<TextLine> cut(std::string_view file, size_t line_bytes_max, int64_t offset,
                          const std::function<size_t()>& next_cut) {
  std::vector<TextLine> lines;
  LineCutter cutter(line_bytes_max, offset);
  const auto take = [&] {
    while (const auto line = cutter.next()) {
      lines.push_back(
          {line->number, line->offset, line->end, std::string(line->text), line->too_long});
    }
  };
  file.remove_prefix(static_cast<size_t>(offset));
  while (!file.empty()) {
    // A copy of exactly these bytes, so that a sanitizer sees who reads further.
    const std::string piece(file.substr(0, next_cut()));
    file.remove_prefix(piece.size());
    cutter.feed(piece);
    take();
  }
  cutter.end();
  take();
  return lines;
}

std::vector<TextLine> cut_whole(std::string_view file, size_t line_bytes_max) {
  return cut(file, line_bytes_max, 0, [&] { return file.size(); });
}

TEST(LineCutter, says_number_place_and_text_of_each_line) {
  EXPECT_EQ(cut_whole("a\nbc\r\nd", 9),
            (std::vector<TextLine>{{1, 0, 2, "a"}, {2, 2, 6, "bc"}, {3, 6, 7, "d"}}));
  EXPECT_EQ(cut_whole("", 9), std::vector<TextLine>{});
}

TEST(LineCutter, passes_over_blank_lines_which_have_numbers) {
  EXPECT_EQ(cut_whole("\n \t\r\na\n\r\n\n b\n \r", 9),
            (std::vector<TextLine>{{3, 5, 7, "a"}, {6, 10, 13, " b"}}));
}

TEST(LineCutter, passes_over_a_mark_at_the_files_beginning_alone) {
  const std::string mark(kMark);
  EXPECT_EQ(cut_whole(mark + "a\n" + mark + "b", 4),
            (std::vector<TextLine>{{1, 0, 5, "a"}, {2, 5, 9, mark + "b"}}));
  EXPECT_EQ(cut(mark + "a\n" + mark + "b", 4, 5, [] { return size_t{1}; }),
            (std::vector<TextLine>{{1, 5, 9, mark + "b"}}));
  EXPECT_EQ(cut_whole(mark + "\n" + mark, 4), (std::vector<TextLine>{{2, 4, 7, mark}}));
}

TEST(LineCutter, a_lines_limit_is_of_its_text) {
  const std::string mark(kMark);
  for (const size_t piece : {1, 2, 100}) {
    const auto by_pieces = [&](const std::string& file) {
      return cut(file, 4, 0, [&] { return piece; });
    };
    EXPECT_EQ(by_pieces(mark + "abcd\r\nabcd"),
              (std::vector<TextLine>{{1, 0, 9, "abcd"}, {2, 9, 13, "abcd"}}));
    EXPECT_EQ(by_pieces(mark + "abcde\r\na"),
              (std::vector<TextLine>{{1, 0, 10, "", true}, {2, 10, 11, "a"}}));
    EXPECT_EQ(by_pieces("abcde\nabcdefghijklm"),
              (std::vector<TextLine>{{1, 0, 6, "", true}, {2, 6, 19, "", true}}));
    EXPECT_EQ(by_pieces("abcd\r"), (std::vector<TextLine>{{1, 0, 5, "", true}}))
        << "a CR that no LF follows is text";
    EXPECT_EQ(by_pieces("     \n"), (std::vector<TextLine>{{1, 0, 6, "", true}}));
  }
}

TEST(LineCutter, keeps_nothing_of_a_line_that_is_too_long) {
  const auto held = [] {
    const struct mallinfo2 all = mallinfo2();
    return all.uordblks + all.hblkhd;
  };
  const std::string piece(1 << 20, 'a');
  LineCutter cutter(1000, 0);
  const size_t before = held();
  for (int i = 0; i < 16; ++i) {
    cutter.feed(piece);
    EXPECT_FALSE(cutter.next());
    EXPECT_LT(held(), before + piece.size()) << i;
  }
}

// Were its time not linear, this would not end.
TEST(LineCutter, reads_a_long_line_byte_by_byte) {
  const std::string file(4 << 20, 'a');
  const auto lines = cut(file, file.size(), 0, [] { return size_t{1}; });
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].text, file);
}

std::string random_file(std::mt19937_64& random) {
  const std::string parts[] = {"a", "bc", " ", "\t", "\r", "\n", "\r\n", std::string(kMark)};
  std::string file = random() % 4 == 0 ? std::string(kMark) : "";
  for (size_t n = random() % 60; n > 0; --n) {
    file += random() % 20 == 0 ? std::string(random() % 30, 'd') : parts[random() % 8];
  }
  return file;
}

TEST(LineCutter, the_lines_are_the_same_however_a_file_is_cut_and_from_each_of_them_on) {
  const uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  for (int i = 0; i < 3000; ++i) {
    const std::string file = random_file(random);
    const size_t max = random() % 12;
    const std::vector<TextLine> expected = lines_in(file, max);
    const auto next_cut = [&] { return 1 + random() % 9; };
    ASSERT_EQ(cut(file, max, 0, next_cut), expected) << ::testing::PrintToString(file);
    for (size_t j = 0; j < expected.size(); ++j) {
      std::vector<TextLine> rest(expected.begin() + static_cast<ptrdiff_t>(j), expected.end());
      const int64_t before = rest[0].number - 1;
      for (TextLine& line : rest) line.number -= before;
      ASSERT_EQ(cut(file, max, rest[0].offset, next_cut), rest) << ::testing::PrintToString(file);
    }
  }
}

}  // namespace
}  // namespace parkd
