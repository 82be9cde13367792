// The tokenizer and the chat template against what tokenizers and jinja2 make of the same file.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "lib/model/model_card.h"
#include "tests/golden/golden_files.h"

namespace parkd {
namespace {

using testing::GoldenPrompt;
using testing::GoldenString;

class TokenizerGolden : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = testing::golden_model_path();
    if (path.empty()) PARKD_SKIP_WITHOUT_MODEL();
    auto card = load_model_card(path);
    ASSERT_TRUE(card.ok()) << card.status().to_string();
    card_ = *card;
  }

  std::shared_ptr<const ModelCard> card_;
};

TEST_F(TokenizerGolden, every_string_has_the_reference_ids) {
  const std::vector<GoldenString> strings = testing::load_golden_strings();
  ASSERT_GE(strings.size(), 200U);
  for (const GoldenString& string : strings) {
    const auto ids = card_->tokenizer->encode(string.text, SpecialTokens::as_text);
    ASSERT_TRUE(ids.ok()) << ids.status().to_string();
    EXPECT_EQ(*ids, string.ids) << ::testing::PrintToString(string.text);
  }
}

TEST_F(TokenizerGolden, every_prompt_is_rendered_as_jinja_renders_it) {
  const std::vector<GoldenPrompt> prompts = testing::load_golden_prompts();
  ASSERT_GE(prompts.size(), 24U);
  EXPECT_EQ(prompts.front().messages.front().content, "What is the capital of France?");
  for (const GoldenPrompt& prompt : prompts) {
    EXPECT_EQ(text_of(card_->chat_template->render(prompt.messages, {}).value()), prompt.rendered)
        << prompt.name;
  }
}

TEST_F(TokenizerGolden, every_prompt_has_the_reference_ids) {
  for (const GoldenPrompt& prompt : testing::load_golden_prompts()) {
    const auto ids =
        card_->tokenizer->encode_prompt(card_->chat_template->render(prompt.messages, {}).value());
    ASSERT_TRUE(ids.ok()) << ids.status().to_string();
    EXPECT_EQ(*ids, prompt.prompt) << prompt.name;
  }
}

TEST_F(TokenizerGolden, every_answer_decodes_to_the_reference_text) {
  for (const GoldenPrompt& prompt : testing::load_golden_prompts()) {
    const std::span<const TokenId> answer(prompt.generated.data(), prompt.ends_at);
    EXPECT_EQ(card_->tokenizer->decode(answer), prompt.text) << prompt.name;
  }
}

TEST_F(TokenizerGolden, the_model_card_says_what_the_file_is) {
  EXPECT_EQ(card_->architecture, "llama");
  EXPECT_EQ(card_->weight_types, "Q4_1 x210, F32 x61, Q8_0 x1");
  EXPECT_EQ(card_->n_parameters, 134'515'008);
  const ModelShape& shape = card_->shape;
  EXPECT_EQ(shape.n_layers, 30);
  EXPECT_EQ(shape.hidden, 576);
  EXPECT_EQ(shape.ffn, 1536);
  EXPECT_EQ(shape.n_heads, 9);
  EXPECT_EQ(shape.n_kv_heads, 3);
  EXPECT_EQ(shape.head_dim, 64);
  EXPECT_EQ(shape.vocab, 49152);
  EXPECT_EQ(shape.context_tokens, 8192);
  EXPECT_FLOAT_EQ(shape.rms_eps, 1e-5F);
  ASSERT_EQ(shape.layers.size(), 30U);
  EXPECT_FLOAT_EQ(shape.layers[29].attention_scale, 0.125F);
  ASSERT_EQ(shape.ropes.size(), 1U);
  ASSERT_EQ(shape.ropes[0].inv_freq.size(), 32U);
  EXPECT_FLOAT_EQ(shape.ropes[0].inv_freq[16], 0.0031622776F);  // 1e5^-0.5
  EXPECT_FALSE(card_->tensors.head.has_value()) << "the embedding is the head too";
}

}  // namespace
}  // namespace parkd
