#include "lib/text/output_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>

#include "lib/base/text.h"

namespace parkd {
namespace {

using Strings = std::vector<std::string>;

struct Outcome {
  bool stopped = false;
  std::string text;
  size_t n_kept_tokens = 0;
};

Outcome run(const Strings& stops, const Strings& tokens) {
  OutputText output(stops, false);
  Outcome outcome;
  for (const std::string& token : tokens) {
    outcome.stopped = output.append(token);
    if (outcome.stopped) break;
  }
  outcome.text = output.text();
  outcome.n_kept_tokens = output.n_kept_tokens();
  return outcome;
}

TEST(OutputText, text_is_what_the_tokens_spell) {
  const Outcome got = run({}, {"Hel", "lo", "", "!"});
  EXPECT_FALSE(got.stopped);
  EXPECT_EQ(got.text, "Hello!");
  EXPECT_EQ(got.n_kept_tokens, 4U);
}

TEST(OutputText, stop_string_is_found_across_token_borders) {
  const Outcome got = run({"END"}, {"one ", "E", "N", "D of it", "never"});
  EXPECT_TRUE(got.stopped);
  EXPECT_EQ(got.text, "one ");
  EXPECT_EQ(got.n_kept_tokens, 1U);
}

TEST(OutputText, token_that_the_cut_goes_through_is_kept) {
  const Outcome got = run({"\n"}, {"a", "b.\nc"});
  EXPECT_TRUE(got.stopped);
  EXPECT_EQ(got.text, "ab.");
  EXPECT_EQ(got.n_kept_tokens, 2U);
}

TEST(OutputText, match_that_starts_first_cuts) {
  const Outcome got = run({"cd", "bcd"}, {"abcd"});
  EXPECT_EQ(got.text, "a");
  EXPECT_EQ(run({"bcd", "cd"}, {"abcd"}).text, "a");
}

TEST(OutputText, stop_string_at_the_very_start_leaves_nothing) {
  const Outcome got = run({"abc"}, {"", "abc"});
  EXPECT_TRUE(got.stopped);
  EXPECT_EQ(got.text, "");
  EXPECT_EQ(got.n_kept_tokens, 0U);
}

TEST(OutputText, almost_a_stop_string_stays_in_the_text) {
  const Outcome got = run({"STOP"}, {"STO", "STO", "ST"});
  EXPECT_FALSE(got.stopped);
  EXPECT_EQ(got.text, "STOSTOST");
}

TEST(OutputText, character_split_over_tokens_is_whole_again) {
  EXPECT_EQ(run({}, {"\xe2", "\x82", "\xac"}).text, "€");
}

TEST(OutputText, unfinished_character_at_the_end_is_one_replacement_or_left_out_of_a_cut_text) {
  OutputText output({}, false);
  for (const char* token : {"ok", " \xe2", "\x82", ""}) output.append(token);
  EXPECT_EQ(output.text(), "ok \xef\xbf\xbd");
  EXPECT_EQ(output.n_kept_tokens(), 4U);
  output.leave_out_unfinished();
  EXPECT_EQ(output.text(), "ok ");
  EXPECT_EQ(output.n_kept_tokens(), 2U) << "the space's token stays";
}

TEST(OutputText, nothing_whole_or_wrong_is_left_out_of_a_cut_text) {
  for (const char* end : {"€", "a", "\xff", "\xe2\x82\xac\xac", "\xed\xa0"}) {
    OutputText output({}, false);
    for (const char* token : {"x", end, ""}) output.append(token);
    output.leave_out_unfinished();
    EXPECT_EQ(output.text(), repair_utf8("x" + std::string(end)));
    EXPECT_EQ(output.n_kept_tokens(), 3U);
  }
}

TEST(OutputText, multibyte_stop_string_is_matched_by_bytes) {
  const Outcome got = run({"終"}, {"a\xe7", "\xb5", "\x82z"});
  EXPECT_TRUE(got.stopped);
  EXPECT_EQ(got.text, "a");
}

TEST(OutputText, a_piece_is_released_as_soon_as_it_can_no_longer_change) {
  const Strings stops = {"END", "\n\n"};
  OutputText output(stops, false);
  const auto released = [&output](const char* token) {
    EXPECT_FALSE(output.append(token));
    const OutputText::Piece piece = output.release();
    return std::string(piece.text) + "+" + std::to_string(piece.n_tokens);
  };
  EXPECT_EQ(released("one"), "one+1");
  EXPECT_EQ(released(" E"), " +1") << "E may begin END";
  EXPECT_EQ(released("N"), "+0");
  EXPECT_EQ(released(""), "+0");
  EXPECT_EQ(released("E"), "EN+1") << "the token that spells nothing may be cut off yet";
  EXPECT_EQ(released("\xe2\x82"), "E+2") << "END is past, the character is not there yet";
  EXPECT_EQ(released("\xac\n"), "€+2");
  EXPECT_EQ(released("\xe2"), "\n+0") << "the line end's token was released with the character";
  EXPECT_EQ(released("x\n"), "\xef\xbf\xbdx+2");
  EXPECT_TRUE(output.append("\nmore"));
  const OutputText::Piece rest = output.release_rest();
  EXPECT_EQ(rest.text, "");
  EXPECT_EQ(rest.n_tokens, 0U);
}

// How much of the text stays as it is whatever follows: no stop string has begun in it, no
// character is open. By the definitions, slowly.
std::string settled_text(const Strings& stops, const std::string& all) {
  size_t stop_begins = all.size();
  for (size_t at = all.size(); at > 0; --at) {
    const std::string tail = all.substr(at - 1);
    for (const std::string& stop : stops) {
      if (stop.size() > tail.size() && stop.compare(0, tail.size(), tail) == 0) {
        stop_begins = at - 1;
      }
    }
  }
  const std::string sure = all.substr(0, stop_begins);
  for (size_t end = sure.size();; --end) {
    const std::string shown = repair_utf8(sure.substr(0, end));
    bool stays = true;
    for (const char* next :
         {"\x80", "\x80\x80", "\x80\x80\x80", "\xa0\x80\x80", "\x90\x80\x80", "a"}) {
      stays &= repair_utf8(sure + next).compare(0, shown.size(), shown) == 0;
    }
    if (stays) return shown;
  }
}

TEST(OutputText, pieces_are_the_text_and_hold_nothing_back_without_need) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const auto bytes = [&random](size_t n_max) {
    constexpr std::string_view kParts[] = {"a",    "b",    "ab",   "\xe2", "\x82",     "\xac",
                                           "\xff", "\xf0", "\x9f", "€",    "\xe2\x82", "\xed"};
    std::string text;
    for (uint64_t n = random() % (n_max + 1); n > 0; --n) {
      text += kParts[random() % std::size(kParts)];
    }
    return text;
  };
  for (int i = 0; i < 5000; ++i) {
    Strings stops;
    for (uint64_t n = random() % 4; n > 0; --n) stops.push_back(bytes(4));
    OutputText output(stops, false);
    std::string all;    // appended
    std::string shown;  // released
    size_t n_shown = 0;
    const auto take = [&](const OutputText::Piece& piece) {
      ASSERT_EQ(piece.first_token, n_shown);
      n_shown += piece.n_tokens;
      shown += piece.text;
    };
    bool stopped = false;
    for (uint64_t n = random() % 12; n > 0 && !stopped; --n) {
      const std::string token = bytes(3);
      all += token;
      stopped = output.append(token);
      if (stopped) break;
      take(output.release());
      ASSERT_EQ(shown, settled_text(stops, all));
    }
    if (!stopped && random() % 2 == 0) output.leave_out_unfinished();
    take(output.release_rest());
    ASSERT_EQ(shown, output.text());
    ASSERT_EQ(n_shown, output.n_kept_tokens());
  }
}

// However the text falls into tokens, the scan finds what a search of the whole text finds.
TEST(OutputText, any_cut_into_tokens_gives_the_same_text) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const auto letters = [&random](size_t size) {
    std::string word;
    for (size_t i = 0; i < size; ++i) word += static_cast<char>('a' + random() % 2);
    return word;
  };
  for (int i = 0; i < 5000; ++i) {
    const std::string all = letters(40);
    const Strings stops = {letters(3 + random() % 6)};  // of one length: one match ends first
    Strings tokens;
    for (size_t at = 0; at < all.size();) {
      const size_t size = std::min<size_t>(all.size() - at, random() % 5);
      tokens.push_back(all.substr(at, size));
      at += size;
    }
    const Outcome got = run(stops, tokens);
    const size_t match = all.find(stops[0]);
    ASSERT_EQ(got.stopped, match != std::string::npos);
    ASSERT_EQ(got.text, all.substr(0, match)) << all << " " << stops[0];
  }
}

TEST(OutputText, a_first_space_that_is_the_vocabularys_is_left_out_once) {
  const std::vector<std::string> stops = {" b"};
  const auto text_of = [&](const std::vector<std::string>& tokens, bool drops) {
    OutputText output(stops, drops);
    for (const std::string& token : tokens) {
      if (output.append(token)) break;
    }
    EXPECT_EQ(output.n_bytes(), output.text().size());
    return output.text();
  };
  EXPECT_EQ(text_of({"", " a", " c"}, true), "a c") << "special tokens before it have no bytes";
  EXPECT_EQ(text_of({" a", " c"}, false), " a c");
  EXPECT_EQ(text_of({"  a"}, true), " a");
  EXPECT_EQ(text_of({"a", " c"}, true), "a c");
  EXPECT_EQ(text_of({" ", "a"}, true), "a");
  EXPECT_EQ(text_of({" b", "c"}, true), "bc") << "a stop string needs a space of the text";
}

}  // namespace
}  // namespace parkd
