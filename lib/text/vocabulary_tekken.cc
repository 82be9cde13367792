#include <array>
#include <cstdint>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/text/tokenizer_file.h"
#include "lib/text/vocabulary_readers.h"

namespace parkd {
namespace {

namespace json = boost::json;

// What files before version v7 mean that list none (mistral-common, tekken.py).
constexpr std::array<std::string_view, 20> kUnlistedSpecials = {"<unk>",
                                                                "<s>",
                                                                "</s>",
                                                                "[INST]",
                                                                "[/INST]",
                                                                "[AVAILABLE_TOOLS]",
                                                                "[/AVAILABLE_TOOLS]",
                                                                "[TOOL_RESULTS]",
                                                                "[/TOOL_RESULTS]",
                                                                "[TOOL_CALLS]",
                                                                "[IMG]",
                                                                "<pad>",
                                                                "[IMG_BREAK]",
                                                                "[IMG_END]",
                                                                "[PREFIX]",
                                                                "[MIDDLE]",
                                                                "[SUFFIX]",
                                                                "[SYSTEM_PROMPT]",
                                                                "[/SYSTEM_PROMPT]",
                                                                "[TOOL_CONTENT]"};

constexpr int64_t kSpecialsMax = 1 << 16;  // real files have 1,000, and name few of them

// RFC 4648, with its padding; nothing for another text.
std::optional<std::string> bytes_of_base64(std::string_view text) {
  static constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const size_t n_padding = text.back() != '=' ? 0 : text[text.size() - 2] == '=' ? 2 : 1;
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_padding = i >= text.size() - n_padding;
    const size_t digit = is_padding ? 0 : kDigits.find(text[i]);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0}) bytes += static_cast<char>(bits >> shift & 0xff);
    bits = 0;
  }
  bytes.resize(bytes.size() - n_padding);
  return bytes;
}

// The member "rank"; -1 where there is none.
int64_t rank_of(const json::object* entry) {
  const json::value* value = entry == nullptr ? nullptr : entry->if_contains("rank");
  return value == nullptr ? -1 : whole_number(*value).value_or(-1);
}

class Tekken {
 public:
  explicit Tekken(const TokenizerFile& file) : file_(file), root_(file.root()) {}

  Result<Vocabulary> read() {
    const json::object* config = object_in(root_, "config");
    const json::string* pattern = config == nullptr ? nullptr : string_in(*config, "pattern");
    const auto number = [&](const char* name) -> std::optional<int64_t> {
      const json::value* value = config == nullptr ? nullptr : config->if_contains(name);
      return value == nullptr ? std::nullopt : whole_number(*value);
    };
    const auto n_tokens = number("default_vocab_size");
    const auto n_specials = number("default_num_special_tokens");
    if (pattern == nullptr || !n_tokens || !n_specials || *n_specials < 0 ||
        *n_tokens <= *n_specials || *n_tokens > kVocabTokensMax) {
      return file_.corrupt_at("config",
                              "has no pattern, default_num_special_tokens and larger "
                              "default_vocab_size up to " +
                                  std::to_string(kVocabTokensMax));
    }
    if (*n_specials > kSpecialsMax) {
      return file_.corrupt_at(
          "config.default_num_special_tokens",
          "is " + std::to_string(*n_specials) + ", the limit is " + std::to_string(kSpecialsMax));
    }
    // In Rust's expressions it is the text's end, in others' each line's.
    if (view(*pattern).find('$') != std::string_view::npos) {
      return file_.unsupported("config.pattern", "with \"$\"");
    }
    const Status status = made_.pre_tokenizer.add_split(view(*pattern), false);
    if (!status.ok())
      return Status(status.code(), file_.corrupt_at("config.pattern:", status.message()).message());
    made_.order = Vocabulary::Order::ranks;
    made_.whole_words_first = true;
    PARKD_RETURN_IF_ERROR(read_specials(*n_specials));
    PARKD_RETURN_IF_ERROR(read_vocab(*n_tokens - *n_specials));
    made_.bos = made_.find_named("<s>");
    made_.eos = made_.find_named("</s>");
    made_.add_bos = made_.bos.has_value();
    return std::move(made_);
  }

 private:
  Status read_specials(int64_t n_specials) {
    std::vector<std::string> names(static_cast<size_t>(n_specials));
    const json::array* listed = array_in(root_, "special_tokens");
    if (listed == nullptr) {
      for (size_t i = 0; i < kUnlistedSpecials.size() && i < names.size(); ++i) {
        names[i] = kUnlistedSpecials[i];
      }
    } else {
      for (size_t i = 0; i < listed->size(); ++i) {
        const json::object* entry = (*listed)[i].if_object();
        const json::string* name = entry == nullptr ? nullptr : string_in(*entry, "token_str");
        const int64_t rank = rank_of(entry);
        if (name == nullptr || name->empty() || name->size() > kAddedTokenBytesMax || rank < 0 ||
            rank >= n_specials || !names[static_cast<size_t>(rank)].empty()) {
          return file_.corrupt_at(
              "special_tokens[" + std::to_string(i) + "]",
              "has no token_str, or no rank of its own below " + std::to_string(n_specials));
        }
        names[static_cast<size_t>(rank)] = std::string(view(*name));
      }
    }
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty()) names[i] = "<SPECIAL_" + std::to_string(i) + ">";
      AddedToken added;
      added.id = static_cast<TokenId>(i);
      added.text = names[i];
      made_.added.push_back(std::move(added));
      made_.tokens.push_back({std::move(names[i]), TokenKind::control});
    }
    return {};
  }

  // The id of a word is its rank behind the special tokens; ranks from `n_words` on are not used.
  Status read_vocab(int64_t n_words) {
    const json::array* vocab = array_in(root_, "vocab");
    if (vocab == nullptr || static_cast<int64_t>(vocab->size()) < n_words) {
      return file_.corrupt_at("vocab", "has fewer than " + std::to_string(n_words) + " entries");
    }
    const size_t n_specials = made_.tokens.size();
    made_.tokens.resize(n_specials + static_cast<size_t>(n_words),
                        {std::string(), TokenKind::unused});
    for (size_t i = 0; i < vocab->size(); ++i) {
      const json::object* entry = (*vocab)[i].if_object();
      const json::string* base64 = entry == nullptr ? nullptr : string_in(*entry, "token_bytes");
      const int64_t rank = rank_of(entry);
      if (rank >= n_words) continue;
      std::optional<std::string> bytes =
          base64 == nullptr ? std::nullopt : bytes_of_base64(view(*base64));
      VocabularyToken* token =
          rank >= 0 ? &made_.tokens[n_specials + static_cast<size_t>(rank)] : nullptr;
      if (token == nullptr || !bytes || token->kind != TokenKind::unused) {
        return file_.corrupt_at(
            "vocab[" + std::to_string(i) + "]",
            "has no token_bytes in base64, or no rank of its own: " + shown_json((*vocab)[i]));
      }
      *token = {std::move(*bytes), TokenKind::text};
    }
    return {};  // as many ranks of their own as there are words: none is left out
  }

  const TokenizerFile& file_;
  const json::object& root_;
  Vocabulary made_;
};

}  // namespace

Result<Vocabulary> read_tekken_json(std::string_view file, std::string_view text) {
  PARKD_ASSIGN_OR_RETURN(const TokenizerFile json, TokenizerFile::read(file, text));
  return Tekken(json).read();
}

}  // namespace parkd
