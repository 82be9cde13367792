// tokenizer_ids FILE_OR_FOLDER: the ids of texts, for comparing with other tokenizers
// (tools/golden/check_real_tokenizers.py). Reads from standard input, for each text, its length in
// bytes (u32, little-endian) and its bytes; writes the number of ids and the ids (u32 each).
#include <cstdint>
#include <iostream>
#include <string>
#include <string_view>

#include "lib/weights/gguf.h"
#include "tests/golden/opened_tokenizer.h"

namespace {

using parkd::Result;
using parkd::Tokenizer;

Result<std::shared_ptr<const Tokenizer>> load(const std::string& path) {
  if (!path.ends_with(".gguf")) return parkd::testing::opened_tokenizer(path);
  auto file = parkd::GgufFile::open(path);
  if (!file.ok()) return file.status();
  return Tokenizer::load(**file);
}

bool read_u32(uint32_t& value) {
  return static_cast<bool>(std::cin.read(reinterpret_cast<char*>(&value), sizeof value));
}

void write_u32(uint32_t value) {
  std::cout.write(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  if (argc != 2) {
    std::cerr << "usage: tokenizer_ids FILE.gguf|FOLDER <texts >ids\n";
    return 2;
  }
  const auto tokenizer = load(argv[1]);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status().to_string() << "\n";
    return 1;
  }
  for (uint32_t size = 0; read_u32(size);) {
    std::string text(size, '\0');
    if (!std::cin.read(text.data(), size)) return 2;
    const auto ids = (*tokenizer)->encode(text, parkd::SpecialTokens::as_text);
    if (!ids.ok()) {
      std::cerr << ids.status().to_string() << "\n";
      return 1;
    }
    write_u32(static_cast<uint32_t>(ids->size()));
    for (const parkd::TokenId id : *ids) write_u32(static_cast<uint32_t>(id));
  }
  return 0;
}
