#include "lib/text/tokenizer_folder.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "lib/text/vocabulary_readers.h"

namespace parkd {
namespace {

// The whole file; nothing when there is none.
Result<std::optional<std::string>> read_file(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::optional<std::string>();
  const auto size = std::filesystem::file_size(path, error);
  if (error) return invalid(path + ": " + error.message());
  if (size > kTokenizerFileBytesMax) {
    return invalid(path + ": the file has " + std::to_string(size) + " bytes, the limit is " +
                   std::to_string(kTokenizerFileBytesMax));
  }
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.good() && !file.eof()) return unavailable(path + ": cannot be read");
  return std::optional<std::string>(std::move(text));
}

struct Kind {
  const char* name;
  Result<Vocabulary> (*read)(std::string_view file, std::string_view text);
};
constexpr Kind kKinds[] = {
    {"tokenizer.json", read_tokenizer_json},
    {"tekken.json", read_tekken_json},
    {"tokenizer.model", read_tokenizer_model},
};

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_tokenizer_folder(const std::string& folder) {
  for (const Kind& kind : kKinds) {
    const std::string path = folder + "/" + kind.name;
    PARKD_ASSIGN_OR_RETURN(const std::optional<std::string> text, read_file(path));
    if (!text) continue;
    PARKD_ASSIGN_OR_RETURN(Vocabulary vocabulary, kind.read(path, *text));
    const std::string config_path = folder + "/tokenizer_config.json";
    PARKD_ASSIGN_OR_RETURN(const std::optional<std::string> config_text, read_file(config_path));
    if (config_text) {
      PARKD_ASSIGN_OR_RETURN(const TokenizerConfig config,
                             read_tokenizer_config(config_path, *config_text));
      PARKD_RETURN_IF_ERROR(apply_tokenizer_config(config_path, config, vocabulary));
    }
    if (vocabulary.eos) vocabulary.end_tokens.push_back(*vocabulary.eos);
    auto made = Tokenizer::make(std::move(vocabulary));
    if (made.ok()) return made;
    return Status(made.status().code(), path + ": " + made.status().message());
  }
  return not_found(folder + ": there is no tokenizer.json, tekken.json or tokenizer.model");
}

}  // namespace parkd
