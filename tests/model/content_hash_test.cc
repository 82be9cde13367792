#include "lib/model/content_hash.h"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <string_view>

#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

uint64_t hash_of(std::string_view text) {
  return xxh64({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

// Expected values: libxxhash 0.8.1, seed 0.
TEST(ContentHash, xxh64_is_the_one_of_the_specification) {
  EXPECT_EQ(hash_of(""), 0xef46db3751d8e999u);
  EXPECT_EQ(hash_of("a"), 0xd24ec4f1a98c6e5bu);
  EXPECT_EQ(hash_of("abc"), 0x44bc2cf5ad770999u);
  EXPECT_EQ(hash_of("The quick brown fox jumps over the lazy dog"), 0x0b242d361fda71bcu);
  std::string counted(101, '\0');
  std::iota(counted.begin(), counted.end(), '\0');
  EXPECT_EQ(hash_of(counted), 0xe99038495f85381eu);
}

TEST(ContentHash, every_byte_and_the_type_count) {
  const TempDir directory;
  const std::string path = directory.path() + "/tiny.gguf";
  ASSERT_TRUE(testing::write_tiny_model(path, {}).ok());
  const auto card = load_model_card(path);
  ASSERT_TRUE(card.ok()) << card.status().to_string();
  const std::string bf16 = model_content_hash(**card, Dtype::bf16);
  EXPECT_EQ(bf16.size(), std::string_view("xxh64:0123456789abcdef:bf16").size()) << bf16;
  EXPECT_NE(bf16, model_content_hash(**card, Dtype::f32));
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(-1, std::ios::end);
    const char last = static_cast<char>(file.get() ^ 1);
    file.seekp(-1, std::ios::end);
    file.put(last);
  }
  const auto changed = load_model_card(path);
  ASSERT_TRUE(changed.ok()) << changed.status().to_string();
  EXPECT_NE(model_content_hash(**changed, Dtype::bf16), bf16);
}

}  // namespace
}  // namespace parkd
