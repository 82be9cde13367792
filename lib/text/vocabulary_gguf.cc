#include <algorithm>
#include <unordered_map>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/spm_pieces.h"
#include "lib/text/vocabulary_readers.h"

namespace parkd {
namespace {

constexpr size_t kForeignShare = 100;  // one in so many tokens

// GGUF's token types (llama.cpp, llama_token_type), and SentencePiece's.
TokenKind kind_of(int64_t type) {
  switch (type) {
    case 1:
      return TokenKind::text;
    case 2:
      return TokenKind::unknown;
    case 4:
      return TokenKind::user_defined;
    case 5:
      return TokenKind::unused;
    case 6:
      return TokenKind::byte;
    default:
      return TokenKind::control;
  }
}

class GgufVocabulary {
 public:
  explicit GgufVocabulary(const GgufFile& file) : file_(file) {}

  Result<Vocabulary> read() {
    PARKD_ASSIGN_OR_RETURN(const std::string_view model, file_.string("tokenizer.ggml.model"));
    if (model == "gpt2") {
      PARKD_RETURN_IF_ERROR(read_byte_level());
    } else if (model == "llama") {
      PARKD_RETURN_IF_ERROR(read_pieces());
    } else {
      return invalid(file_.error_text("tokenizer.ggml.model " + json_string(model) +
                                      " is not supported yet (gpt2, byte-level BPE, and llama, "
                                      "SentencePiece BPE, are)"));
    }
    PARKD_RETURN_IF_ERROR(read_ids());
    return std::move(made_);
  }

 private:
  Status read_byte_level() {
    // A file that does not say how its text is split would give plausible and wrong tokens.
    PARKD_ASSIGN_OR_RETURN(const std::string_view pre, file_.string("tokenizer.ggml.pre"));
    const SplitRule* rule = find_split_rule(pre);
    if (rule == nullptr) {
      std::string known;
      for (const SplitRule& each : split_rules()) {
        known += (known.empty() ? "" : ", ") + std::string(each.name);
      }
      return invalid(file_.error_text("tokenizer.ggml.pre " + json_string(pre) +
                                      " is not supported yet (" + known + " are)"));
    }
    PARKD_RETURN_IF_ERROR(made_.pre_tokenizer.add_rule(*rule));
    made_.whole_words_first = rule->whole_words_first;
    add_bos_by_default_ = rule->whole_words_first;  // as llama.cpp has it (llama-vocab)
    PARKD_RETURN_IF_ERROR(read_tokens());
    size_t n_foreign = 0;
    for (size_t i = 0; i < made_.tokens.size(); ++i) {
      VocabularyToken& token = made_.tokens[i];
      if (token.kind == TokenKind::byte) token.kind = TokenKind::control;  // none in this kind
      if (token.kind != TokenKind::text) continue;
      std::optional<std::string> bytes = bytes_of_byte_level_text(token.text);
      if (bytes && !bytes->empty()) {
        token.text = std::move(*bytes);
        continue;
      }
      // Real files have a few that no text can become; many make another kind of file.
      if (++n_foreign > made_.tokens.size() / kForeignShare) {
        return corrupt(file_.error_text("token " + std::to_string(i) + " " +
                                        json_string(token.text) +
                                        " is not spelled in the byte-level alphabet"));
      }
      token.kind = TokenKind::unused;
    }
    return read_merges();
  }

  Status read_tokens() {
    PARKD_ASSIGN_OR_RETURN(const auto texts, file_.strings("tokenizer.ggml.tokens"));
    PARKD_ASSIGN_OR_RETURN(const auto types, file_.integers("tokenizer.ggml.token_type"));
    const auto n_tokens = static_cast<int64_t>(texts.size());
    if (n_tokens == 0 || n_tokens > kVocabTokensMax) {
      return corrupt(file_.error_text("tokenizer.ggml.tokens has " + std::to_string(n_tokens) +
                                      " tokens, the limits are 1 and " +
                                      std::to_string(kVocabTokensMax)));
    }
    if (types.size() != texts.size()) {
      return corrupt(file_.error_text("tokenizer.ggml.token_type has " +
                                      std::to_string(types.size()) + " entries for " +
                                      std::to_string(n_tokens) + " tokens"));
    }
    made_.tokens.reserve(texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const TokenKind kind = kind_of(types[i]);
      made_.tokens.push_back({std::string(texts[i]), kind});
      // A placeholder in the vocabulary is not a name that a template could mean.
      const bool named = kind == TokenKind::control || kind == TokenKind::user_defined ||
                         kind == TokenKind::unknown;
      if (!named || texts[i].empty()) continue;
      if (texts[i].size() > kAddedTokenBytesMax) {
        return corrupt(file_.error_text("token " + std::to_string(i) + " has a name of " +
                                        std::to_string(texts[i].size()) + " bytes, the limit is " +
                                        std::to_string(kAddedTokenBytesMax)));
      }
      // Found in a text it would cut a character.
      if (!is_valid_utf8(texts[i])) {
        return corrupt(
            file_.error_text("token " + std::to_string(i) + " has a name that is not UTF-8"));
      }
      AddedToken added;
      added.id = static_cast<TokenId>(i);
      added.text = std::string(texts[i]);
      made_.added.push_back(std::move(added));
    }
    return {};
  }

  Status read_merges() {
    std::unordered_map<std::string_view, TokenId> words;  // the first of those spelled alike
    for (size_t i = 0; i < made_.tokens.size(); ++i) {
      if (made_.tokens[i].kind != TokenKind::text) continue;
      words.emplace(made_.tokens[i].text, static_cast<TokenId>(i));
    }
    PARKD_ASSIGN_OR_RETURN(const auto merges, file_.strings("tokenizer.ggml.merges"));
    made_.merges.reserve(merges.size());
    for (size_t i = 0; i < merges.size(); ++i) {
      const auto bad = [&](const std::string& why) {
        return corrupt(file_.error_text("merge " + std::to_string(i) + " " +
                                        json_string(merges[i]) + " " + why));
      };
      const size_t space = merges[i].find(' ');
      if (space == std::string_view::npos) return bad("has no space between its two parts");
      const auto left = bytes_of_byte_level_text(merges[i].substr(0, space));
      const auto right = bytes_of_byte_level_text(merges[i].substr(space + 1));
      if (!left || !right) return bad("is not spelled in the byte-level alphabet");
      const auto left_id = words.find(*left);
      const auto right_id = words.find(*right);
      const auto merged_id = words.find(*left + *right);
      if (left_id == words.end() || right_id == words.end() || merged_id == words.end()) {
        return bad("names a token that the vocabulary does not have");
      }
      made_.merges.push_back({left_id->second, right_id->second, merged_id->second});
    }
    return {};
  }

  Status read_pieces() {
    add_bos_by_default_ = true;  // as llama.cpp has it
    PARKD_RETURN_IF_ERROR(read_tokens());
    PARKD_ASSIGN_OR_RETURN(made_.scores, file_.floats("tokenizer.ggml.scores"));
    PARKD_ASSIGN_OR_RETURN(const bool adds_space,
                           file_.boolean_or("tokenizer.ggml.add_space_prefix", true));
    PARKD_ASSIGN_OR_RETURN(const bool removes_spaces,
                           file_.boolean_or("tokenizer.ggml.remove_extra_whitespaces", false));
    if (removes_spaces) {
      return invalid(file_.error_text(
          "tokenizer.ggml.remove_extra_whitespaces true is not supported yet (false is)"));
    }
    const Status status = make_pieces(adds_space, made_);
    if (!status.ok()) return {status.code(), file_.error_text(status.message())};
    return read_phi3_markers();
  }

  // Those of Phi-3 take the white space behind them, so that a turn's text begins as a text does.
  // Its tokenizer.json says so, GGUF has no key for it (llama.cpp goes by the model's name).
  Status read_phi3_markers() {
    PARKD_ASSIGN_OR_RETURN(const std::string_view architecture,
                           file_.string_or("general.architecture", ""));
    if (architecture != "phi3") return {};
    for (AddedToken& token : made_.added) {
      token.rstrip = token.text != "<unk>" && token.text != "<s>" && token.text != "<|endoftext|>";
    }
    return {};
  }

  Status read_ids() {
    const auto read_id = [&](std::string_view key) -> Result<std::optional<TokenId>> {
      if (!file_.has(key)) return std::optional<TokenId>();
      PARKD_ASSIGN_OR_RETURN(const int64_t id, file_.integer(key));
      const auto n_tokens = static_cast<int64_t>(made_.tokens.size());
      if (id < 0 || id >= n_tokens) {
        return corrupt(file_.error_text(std::string(key) + " is " + std::to_string(id) +
                                        ", the vocabulary has " + std::to_string(n_tokens) +
                                        " tokens"));
      }
      return std::optional<TokenId>(static_cast<TokenId>(id));
    };
    PARKD_ASSIGN_OR_RETURN(made_.bos, read_id("tokenizer.ggml.bos_token_id"));
    PARKD_ASSIGN_OR_RETURN(made_.eos, read_id("tokenizer.ggml.eos_token_id"));
    PARKD_ASSIGN_OR_RETURN(const auto unknown, read_id("tokenizer.ggml.unknown_token_id"));
    if (!made_.unknown) made_.unknown = unknown;
    if (made_.eos) made_.end_tokens.push_back(*made_.eos);
    for (const char* key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
      PARKD_ASSIGN_OR_RETURN(const std::optional<TokenId> id, read_id(key));
      if (id) made_.end_tokens.push_back(*id);
    }
    PARKD_ASSIGN_OR_RETURN(made_.add_bos,
                           file_.boolean_or("tokenizer.ggml.add_bos_token", add_bos_by_default_));
    if (made_.add_bos && !made_.bos) {
      return corrupt(file_.error_text(
          "prompts start with a BOS token, but key \"tokenizer.ggml.bos_token_id\" is missing"));
    }
    return {};
  }

  const GgufFile& file_;
  Vocabulary made_;
  bool add_bos_by_default_ = false;
};

}  // namespace

Result<Vocabulary> read_gguf_vocabulary(const GgufFile& file) {
  return GgufVocabulary(file).read();
}

}  // namespace parkd
