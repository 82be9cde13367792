// What a chat template is given of a body: the prompt that transformers makes of the same request
// (tools/golden/templates.py bodies).
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/raw_json.h"
#include "lib/base/text.h"
#include "lib/jinja/json_value.h"
#include "lib/openai/answer_form.h"
#include "lib/openai/chat_request.h"
#include "lib/text/chat_template.h"

namespace parkd {
namespace {

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
  return jinja::json_value(json, jinja::Origin::literal).value().as_bytes();
}

struct Rendered {
  std::string mark;  // as the goldens have it
  std::string shown;
};

Rendered render(const ChatTemplate& made, std::string_view body) {
  auto request = parse_chat_request(body, RequestDefaults{});
  if (!request.ok()) return {"refused", request.status().to_string()};
  request->template_options.created_at = kNow;
  const auto prompt = made.render(request->messages, request->template_options);
  if (prompt.ok()) return {to_hex(fnv1a64(text_of(*prompt))), text_of(*prompt)};
  return {prompt.status().param() == "tools" ? "tools" : "!", prompt.status().to_string()};
}

// "hermes" and "think", as far as the template alone says.
std::string forms_of(const ChatTemplate& made) {
  Vocabulary letters;
  letters.tokens.assign(1, {"a", TokenKind::text});
  const AnswerForm form = find_answer_form(made, *Tokenizer::make(std::move(letters)).value());
  return std::string(to_string(form.calls)) + " " + std::string(form.reasoning);
}

void compare(const std::string& file, const std::string& folder) {
  const auto bodies = raw_elements(raw_member(file, "bodies"));
  ASSERT_GE(bodies.size(), 100U);
  const std::vector<std::pair<std::string, std::string>> specials = {{"bos_token", "<|bos|>"},
                                                                     {"eos_token", "<|eos|>"}};
  for (const std::string_view golden : raw_elements(raw_member(file, "templates"))) {
    const std::string name = string_of(raw_member(golden, "name"));
    const std::string source =
        folder.empty() ? string_of(raw_member(golden, "source")) : text_of_file(folder + name);
    const auto made = ChatTemplate::from_jinja(source, specials);
    ASSERT_TRUE(made.ok()) << name << ": " << made.status().to_string();
    const auto hashes = raw_elements(raw_member(golden, "hashes"));
    const auto texts = raw_elements(raw_member(golden, "texts"));
    ASSERT_EQ(hashes.size(), bodies.size());
    size_t n_equal = 0;
    size_t n_refused = 0;
    std::string first_wrong;
    for (size_t i = 0; i < bodies.size(); ++i) {
      const Rendered rendered = render(*made, bodies[i]);
      const std::string expected = string_of(hashes[i]);
      n_refused += rendered.mark.size() == 16 ? 0 : 1;
      if (rendered.mark == expected) {
        ++n_equal;
      } else if (first_wrong.empty()) {
        first_wrong = "body " + std::to_string(i) + ": " + std::string(bodies[i]) + "\n" +
                      rendered.shown + "\n--- expected: " + expected;
        if (!texts.empty()) first_wrong += "\n" + std::string(texts[i]);
      }
    }
    std::cout << name << ": " << n_equal << " of " << bodies.size() << " equal, " << n_refused
              << " refused; calls and reasoning: " << forms_of(*made) << "\n";
    EXPECT_EQ(first_wrong, "") << name;
  }
}

TEST(TemplateValues, a_body_becomes_the_prompt_that_transformers_makes_of_it) {
  compare(text_of_file(PARKD_SOURCE_DIR "/tests/openai/goldens.json"),
          PARKD_SOURCE_DIR "/tests/jinja/templates/");
}

// Other people's templates, which are not in the tree.
TEST(TemplateValues, bodies_become_the_prompts_of_real_templates) {
  const char* path = std::getenv("PARKD_BODY_GOLDENS");
  if (path == nullptr) GTEST_SKIP() << "PARKD_BODY_GOLDENS names no file";
  compare(text_of_file(path), "");
}

}  // namespace
}  // namespace parkd
