// The tokenizers of every format against their references, on small vocabularies of our own.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "lib/base/text.h"
#include "tests/golden/opened_tokenizer.h"
#include "tests/golden/tokenizer_texts.h"

namespace parkd {
namespace {

using testing::GoldenTokenizers;

const GoldenTokenizers& goldens() {
  static const GoldenTokenizers all = testing::load_golden_tokenizers();
  return all;
}

class TokenizersGolden : public ::testing::TestWithParam<const char*> {
 protected:
  const GoldenTokenizers::Kind& kind() const {
    for (const GoldenTokenizers::Kind& each : goldens().kinds) {
      if (each.name == GetParam()) return each;
    }
    throw std::runtime_error(std::string("no golden of ") + GetParam());
  }
  std::vector<TokenId> encode(const std::string& text) const {
    return tokenizer_->encode(text, SpecialTokens::as_text).value();
  }

  const std::shared_ptr<const Tokenizer> tokenizer_ =
      testing::opened_tokenizer(testing::golden_tokenizers_folder() + "/" + GetParam()).value();
};

TEST_P(TokenizersGolden, five_hundred_picked_texts_have_the_references_ids) {
  ASSERT_EQ(goldens().picked.size(), 500U);
  for (size_t i = 0; i < goldens().picked.size(); ++i) {
    const std::string& text = goldens().picked[i];
    EXPECT_EQ(encode(text), kind().ids[i]) << ::testing::PrintToString(text);
  }
}

TEST_P(TokenizersGolden, a_hundred_thousand_texts_have_the_references_ids) {
  ASSERT_EQ(kind().hashes.size() * goldens().block, goldens().n_texts);
  size_t i = 0;
  for (const uint64_t expected : kind().hashes) {
    const size_t first = i;
    uint64_t hash = fnv1a64("");
    for (; i < first + goldens().block; ++i) {
      std::vector<TokenId> ids = encode(goldens().text(i));
      ids.push_back(-1);
      hash =
          fnv1a64({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId)}, hash);
    }
    EXPECT_EQ(to_hex(hash), to_hex(expected)) << "of texts " << first << " to " << i - 1;
  }
}

TEST_P(TokenizersGolden, picked_texts_decode_as_the_reference_decodes_them) {
  std::string all;
  for (const std::string& text : goldens().picked) {
    if (&text != &goldens().picked.front()) all += '\0';
    all += tokenizer_->decode(encode(text));
  }
  EXPECT_EQ(to_hex(fnv1a64(all)), to_hex(kind().decoded));
}

INSTANTIATE_TEST_SUITE_P(kinds, TokenizersGolden,
                         ::testing::Values("qwen2", "llama3", "deepseek3", "smollm", "llama2",
                                           "mistral", "spm", "gemma", "tekken"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace parkd
