// The interpreter against what jinja2 renders, as transformers sets it up (tools/golden/
// templates.py): a snippet for each construct, then conversations with whole templates.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/raw_json.h"
#include "lib/base/text.h"
#include "lib/jinja/json_value.h"
#include "lib/jinja/template.h"

namespace parkd::jinja {
namespace {

const std::string kFolder = PARKD_SOURCE_DIR "/tests/jinja/";
// 2026-01-02 03:04:05 UTC
constexpr std::chrono::sys_seconds kNow{std::chrono::seconds(1767323045)};

std::string text_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string string_of(std::string_view json) {
  return json_value(json, Origin::literal).value().as_bytes();
}

// The variables of a case; they point into `value`.
std::vector<Variable> variables_of(const Value& value) {
  std::vector<Variable> variables;
  for (const auto& [name, of] : value.as_dict().entries) {
    variables.emplace_back(name.as_bytes(), of);
  }
  return variables;
}

TEST(JinjaGolden, every_snippet_is_rendered_as_jinja_renders_it) {
  const std::string file = text_of_file(kFolder + "goldens.json");
  const Value given =
      json_value(raw_elements(raw_member(file, "variables")).front(), Origin::content).value();
  const auto variables = variables_of(given);
  const auto snippets = raw_elements(raw_member(file, "snippets"));
  ASSERT_GE(snippets.size(), 110U);
  for (const std::string_view snippet : snippets) {
    const std::string source = string_of(raw_member(snippet, "source"));
    const std::string_view expected = raw_member(snippet, "text");
    const auto made = Template::compile(source, Limits{});
    const auto text = made.ok() ? made->render(variables, kNow) : Result<Text>(made.status());
    if (expected == "null") {
      EXPECT_FALSE(text.ok()) << source << "\nis rendered: " << text->bytes();
    } else if (text.ok()) {
      EXPECT_EQ(text->bytes(), string_of(expected)) << source;
    } else {
      ADD_FAILURE() << source << "\n" << text.status().to_string();
    }
  }
}

struct Score {
  size_t n_equal = 0;
  size_t n_refused = 0;  // by both
  std::string first_wrong;
};

Score score_of(const Template& made, std::string_view golden,
               const std::vector<std::string_view>& cases) {
  Score score;
  const auto hashes = raw_elements(raw_member(golden, "hashes"));
  const auto texts = raw_elements(raw_member(golden, "texts"));
  EXPECT_EQ(hashes.size(), cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    const Value given = json_value(cases[i], Origin::content).value();
    const auto text = made.render(variables_of(given), kNow);
    const std::string expected = string_of(hashes[i]);
    const std::string found = text.ok() ? to_hex(fnv1a64(text->bytes())) : "!";
    if (found == expected) {
      ++score.n_equal;
      score.n_refused += text.ok() ? 0 : 1;
    } else if (score.first_wrong.empty()) {
      score.first_wrong = "case " + std::to_string(i) + ": " + std::string(cases[i]) + "\n" +
                          (text.ok() ? text->bytes() : text.status().to_string());
      if (!texts.empty()) score.first_wrong += "\n--- expected:\n" + string_of(texts[i]);
    }
  }
  return score;
}

TEST(JinjaGolden, every_conversation_is_rendered_as_transformers_renders_it) {
  const std::string file = text_of_file(kFolder + "goldens.json");
  const auto cases = raw_elements(raw_member(file, "cases"));
  ASSERT_GE(cases.size(), 300U);
  const auto templates = raw_elements(raw_member(file, "templates"));
  ASSERT_GE(templates.size(), 8U);
  for (const std::string_view golden : templates) {
    const std::string name = string_of(raw_member(golden, "name"));
    const auto made =
        Template::compile(text_of_file(kFolder + "templates/" + name + ".jinja"), Limits{});
    ASSERT_TRUE(made.ok()) << name << ": " << made.status().to_string();
    const Score score = score_of(*made, golden, cases);
    std::cout << name << ": " << score.n_equal << " of " << cases.size() << " equal, "
              << score.n_refused << " of them refused\n";
    EXPECT_EQ(score.first_wrong, "") << name;
    EXPECT_LT(score.n_refused, cases.size() / 2) << name << " says little";
  }
}

// Other people's templates (tools/golden/templates.py real), which are not in the tree.
TEST(JinjaGolden, real_templates_are_rendered_as_transformers_renders_them) {
  const char* path = std::getenv("PARKD_TEMPLATE_GOLDENS");
  if (path == nullptr) GTEST_SKIP() << "PARKD_TEMPLATE_GOLDENS names no file";
  const std::string file = text_of_file(path);
  const auto cases = raw_elements(raw_member(file, "cases"));
  for (const std::string_view golden : raw_elements(raw_member(file, "templates"))) {
    const std::string name = string_of(raw_member(golden, "name"));
    const auto made = Template::compile(string_of(raw_member(golden, "source")), Limits{});
    const auto began = std::chrono::steady_clock::now();
    const Score score =
        made.ok() ? score_of(*made, golden, cases) : Score{0, 0, made.status().to_string()};
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - began;
    std::cout << name << ": " << score.n_equal << " of " << cases.size() << " equal, "
              << score.n_refused << " of them refused, "
              << static_cast<int>(took.count() / static_cast<double>(cases.size())) << " us each\n";
    EXPECT_EQ(score.first_wrong, "") << name;
  }
}

}  // namespace
}  // namespace parkd::jinja
