#include <algorithm>
#include <unordered_set>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/json_text_steps.h"
#include "lib/text/spm_pieces.h"
#include "lib/text/tokenizer_file.h"
#include "lib/text/vocabulary_readers.h"

namespace parkd {
namespace {

namespace json = boost::json;

constexpr size_t kHolesMax = 1 << 16;  // ids that no token has

class JsonVocabulary {
 public:
  JsonVocabulary(const TokenizerFile& file, const json::object& model)
      : file_(file), root_(file.root()), model_(model) {}

  Result<Vocabulary> read() {
    PARKD_RETURN_IF_ERROR(check_model());
    PARKD_ASSIGN_OR_RETURN(const TextSteps steps, read_text_steps(file_, made_));
    made_.from_characters = !steps.byte_level;
    spaces_ = steps.underscore_spaces;
    made_.drop_first_space = steps.drops_first_space;
    PARKD_RETURN_IF_ERROR(read_vocab());
    PARKD_RETURN_IF_ERROR(read_added());
    PARKD_RETURN_IF_ERROR(read_merges());
    PARKD_RETURN_IF_ERROR(spell_tokens());
    PARKD_RETURN_IF_ERROR(read_bos());
    return std::move(made_);
  }

 private:
  Status check_model() {
    const json::string* type = string_in(model_, "type");
    if (type != nullptr && view(*type) != "BPE") {
      return file_.unsupported("model.type", json_string(view(*type)) + " (BPE is)");
    }
    if (type == nullptr && array_in(model_, "merges") == nullptr) {
      return file_.corrupt_at("model", "has neither a type nor merges");
    }
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const json::string* text = string_in(model_, name);
      if (text != nullptr && !text->empty()) {
        return file_.unsupported("model." + std::string(name), json_string(view(*text)));
      }
    }
    if (is_given(model_, "dropout")) {
      const json::value& dropout = model_.at("dropout");
      if (!dropout.is_number() || dropout.to_number<double>() != 0) {
        return file_.unsupported("model.dropout", shown_json(dropout));
      }
    }
    made_.whole_words_first = bool_in(model_, "ignore_merges", false);
    made_.fuse_unknown = bool_in(model_, "fuse_unk", false);
    made_.byte_fallback = bool_in(model_, "byte_fallback", false);
    return {};
  }

  // Makes room for `id`. Returns false when it is out of range.
  bool take_id(const json::value& value, TokenId& id) {
    const std::optional<int64_t> number = whole_number(value);
    if (!number || *number < 0 || *number >= kVocabTokensMax) return false;
    const auto index = static_cast<size_t>(*number);
    if (index >= made_.tokens.size()) {
      made_.tokens.resize(index + 1, {std::string(), TokenKind::unused});
    }
    id = static_cast<TokenId>(index);
    return true;
  }

  Status read_vocab() {
    vocab_ = object_in(model_, "vocab");
    if (vocab_ == nullptr || vocab_->empty()) {
      return file_.corrupt_at("model.vocab", "is not an object with a token in it");
    }
    size_t last = 0;  // before any room is made: ids may be absurd
    for (const auto& member : *vocab_) {
      const std::optional<int64_t> id = whole_number(member.value());
      if (!id || *id < 0 || *id >= kVocabTokensMax) return bad_id(member);
      last = std::max(last, static_cast<size_t>(*id));
    }
    if (last >= vocab_->size() + kHolesMax) {
      return file_.corrupt_at("model.vocab", "has " + std::to_string(vocab_->size()) +
                                                 " tokens and an id " + std::to_string(last) +
                                                 ", the limit is " + std::to_string(kHolesMax) +
                                                 " ids without a token");
    }
    made_.tokens.resize(last + 1, {std::string(), TokenKind::unused});
    for (const auto& member : *vocab_) {
      VocabularyToken& token = made_.tokens[static_cast<size_t>(*whole_number(member.value()))];
      if (token.kind != TokenKind::unused) {
        return file_.corrupt_at("model.vocab",
                                "gives id " + shown_json(member.value()) + " to two tokens");
      }
      token = {std::string(member.key()), TokenKind::text};
    }
    if (const json::string* unknown = string_in(model_, "unk_token")) {
      if (const json::value* id = vocab_->if_contains(*unknown)) {
        made_.unknown = static_cast<TokenId>(*whole_number(*id));
      }
    }
    return {};
  }
  Status bad_id(const json::key_value_pair& member) const {
    return file_.corrupt_at(
        "model.vocab", json_string(member.key()) + " has the id " + shown_json(member.value()) +
                           ", the limits are 0 and " + std::to_string(kVocabTokensMax - 1));
  }

  Status read_added() {
    const json::array* added = array_in(root_, "added_tokens");
    if (added == nullptr) return {};
    if (added->size() > vocab_->size() + kHolesMax) {
      return file_.corrupt_at("added_tokens", "has " + std::to_string(added->size()) + " entries");
    }
    std::unordered_set<std::string> names;
    const size_t n_most = made_.tokens.size() + added->size() + kHolesMax;
    for (size_t i = 0; i < added->size(); ++i) {
      const std::string place = "added_tokens[" + std::to_string(i) + "]";
      const json::object* entry = (*added)[i].if_object();
      const json::value* id = entry == nullptr ? nullptr : entry->if_contains("id");
      const json::string* content = entry == nullptr ? nullptr : string_in(*entry, "content");
      if (id == nullptr || content == nullptr || content->empty() ||
          content->size() > kAddedTokenBytesMax) {
        return file_.corrupt_at(place, "has no id, or no content of 1 to " +
                                           std::to_string(kAddedTokenBytesMax) + " bytes");
      }
      const std::optional<int64_t> number = whole_number(*id);
      AddedToken token;
      if (!number || static_cast<size_t>(*number) >= n_most || !take_id(*id, token.id)) {
        return file_.corrupt_at(place, "has the id " + shown_json(*id) + ", the limits are 0 and " +
                                           std::to_string(n_most - 1));
      }
      token.text = std::string(view(*content));
      token.lstrip = bool_in(*entry, "lstrip", false);
      token.rstrip = bool_in(*entry, "rstrip", false);
      token.single_word = bool_in(*entry, "single_word", false);
      token.normalized = bool_in(*entry, "normalized", false);
      if (const auto word = id_of(token.text); word && *word != token.id) {
        return file_.corrupt_at(place, json_string(token.text) + " has the id " +
                                           std::to_string(token.id) + ", and " +
                                           std::to_string(*word) + " in model.vocab");
      }
      if (!names.insert(token.text).second) {
        return file_.corrupt_at(place, json_string(token.text) + " stands there twice");
      }
      VocabularyToken& slot = made_.tokens[static_cast<size_t>(token.id)];
      if (slot.kind != TokenKind::unused && slot.text != token.text) {
        return file_.corrupt_at(
            place, json_string(token.text) + " has the id of " + json_string(slot.text));
      }
      slot = {token.text,
              bool_in(*entry, "special", false) ? TokenKind::control : TokenKind::user_defined};
      made_.added.push_back(std::move(token));
    }
    return {};
  }

  std::optional<TokenId> id_of(std::string_view text) const {
    const json::value* id = vocab_->if_contains(text);
    if (id == nullptr) return std::nullopt;
    return static_cast<TokenId>(*whole_number(*id));
  }

  Status read_merges() {
    const json::array* merges = array_in(model_, "merges");
    if (merges == nullptr) return file_.corrupt_at("model.merges", "is not a list");
    made_.merges.reserve(merges->size());
    for (size_t i = 0; i < merges->size(); ++i) {
      const json::value& merge = (*merges)[i];
      const auto bad = [&](const std::string& why) {
        return file_.corrupt_at("model.merges[" + std::to_string(i) + "]",
                                shown_json(merge) + " " + why);
      };
      std::string_view left, right;
      if (const json::string* text = merge.if_string()) {
        const size_t space = view(*text).find(' ');
        if (space == std::string_view::npos) return bad("has no space between its two parts");
        left = view(*text).substr(0, space);
        right = view(*text).substr(space + 1);
      } else {
        const json::array* pair = merge.if_array();
        if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() ||
            !(*pair)[1].is_string()) {
          return bad("is neither a text nor a pair of texts");
        }
        left = view((*pair)[0].get_string());
        right = view((*pair)[1].get_string());
      }
      const auto left_id = id_of(left);
      const auto right_id = id_of(right);
      const auto merged_id = id_of(std::string(left) + std::string(right));
      if (!left_id || !right_id || !merged_id) {
        return bad("names a token that the vocabulary does not have");
      }
      made_.merges.push_back({*left_id, *right_id, *merged_id});
    }
    return {};
  }

  // From the file's spelling to what each token spells.
  Status spell_tokens() {
    for (VocabularyToken& token : made_.tokens) {
      if (token.kind == TokenKind::user_defined && spaces_) token.text = with_spaces(token.text);
      if (token.kind != TokenKind::text) continue;
      if (!made_.from_characters) {
        std::optional<std::string> bytes = bytes_of_byte_level_text(token.text);
        if (bytes && !bytes->empty()) {
          token.text = std::move(*bytes);
        } else {
          token.kind = TokenKind::unused;  // no text can become it
        }
        continue;
      }
      const int byte = made_.byte_fallback ? byte_of_name(token.text) : -1;
      if (byte >= 0) {
        token = {std::string(1, static_cast<char>(byte)), TokenKind::byte};
      } else if (spaces_) {
        token.text = with_spaces(token.text);
      }
      if (token.text.empty()) token.kind = TokenKind::unused;
    }
    if (spaces_) {
      for (AddedToken& added : made_.added) {
        if (added.normalized) added.text = with_spaces(added.text);
      }
    }
    if (made_.unknown) {
      VocabularyToken& unknown = made_.tokens[static_cast<size_t>(*made_.unknown)];
      if (unknown.kind == TokenKind::text) unknown.kind = TokenKind::unknown;
    }
    return {};
  }

  // What stands before the text in the post-processor's template; what stands behind it is left
  // out, since a prompt goes on.
  Status read_bos() {
    const json::object* processor = object_in(root_, "post_processor");
    if (processor == nullptr) return {};
    const json::array* processors = array_in(*processor, "processors");
    if (processors == nullptr) return read_bos_of(*processor);
    for (const json::value& each : *processors) {
      if (!each.is_object()) return file_.corrupt_at("post_processor", "holds no objects");
      PARKD_RETURN_IF_ERROR(read_bos_of(each.get_object()));
    }
    return {};
  }

  Status read_bos_of(const json::object& processor) {
    const json::string* type = string_in(processor, "type");
    if (type == nullptr) return file_.corrupt_at("post_processor", "has no type");
    if (view(*type) == "ByteLevel") return {};
    if (view(*type) != "TemplateProcessing") {
      return file_.unsupported(
          "post_processor.type",
          json_string(view(*type)) + " (TemplateProcessing and ByteLevel are)");
    }
    const json::array* single = array_in(processor, "single");
    if (single == nullptr) return file_.corrupt_at("post_processor.single", "is not a list");
    for (const json::value& item : *single) {
      if (!item.is_object()) return file_.corrupt_at("post_processor.single", "holds no objects");
      const json::object* special = object_in(item.get_object(), "SpecialToken");
      if (special == nullptr) return {};  // the text
      const json::string* name = string_in(*special, "id");
      const auto id = name == nullptr ? std::nullopt : made_.find_named(view(*name));
      if (!id) {
        return file_.corrupt_at("post_processor.single",
                                "names a token that is not there: " + shown_json(item));
      }
      if (made_.add_bos) {
        return file_.unsupported("post_processor.single", "with two tokens before the text");
      }
      made_.bos = id;
      made_.add_bos = true;
    }
    return {};
  }

  const TokenizerFile& file_;
  const json::object& root_;
  const json::object& model_;
  const json::object* vocab_ = nullptr;
  bool spaces_ = false;
  Vocabulary made_;
};

}  // namespace

Result<Vocabulary> read_tokenizer_json(std::string_view file, std::string_view text) {
  PARKD_ASSIGN_OR_RETURN(const TokenizerFile json, TokenizerFile::read(file, text));
  const json::object* model = object_in(json.root(), "model");
  if (model == nullptr) return json.corrupt_at("model", "is missing");
  return JsonVocabulary(json, *model).read();
}

}  // namespace parkd
