#include "lib/text/tokenizer_folder.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "lib/text/vocabulary_readers.h"

namespace parkd {
namespace {

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

Result<std::shared_ptr<const Tokenizer>> read_tokenizer(const ModelFolder& folder) {
  constexpr std::string_view kConfig = "tokenizer_config.json";
  for (const Kind& kind : kKinds) {
    const std::optional<std::string_view> text = folder.text_of(kind.name);
    if (!text) continue;
    const std::string path = folder.name() + "/" + kind.name;
    PARKD_ASSIGN_OR_RETURN(Vocabulary vocabulary, kind.read(path, *text));
    if (const std::optional<std::string_view> config_text = folder.text_of(kConfig)) {
      const std::string config_path = folder.name() + "/" + std::string(kConfig);
      PARKD_ASSIGN_OR_RETURN(const TokenizerConfig config,
                             read_tokenizer_config(config_path, *config_text));
      PARKD_RETURN_IF_ERROR(apply_tokenizer_config(config_path, config, vocabulary));
    }
    if (vocabulary.eos) vocabulary.end_tokens.push_back(*vocabulary.eos);
    auto made = Tokenizer::make(std::move(vocabulary));
    if (made.ok()) return made;
    return Status(made.status().code(), path + ": " + made.status().message());
  }
  return not_found(folder.error_text("there is no tokenizer.json, tekken.json or tokenizer.model"));
}

}  // namespace parkd
