#include <bit>
#include <cstdint>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "lib/text/spm_pieces.h"
#include "lib/text/vocabulary_readers.h"
#include "lib/text/wire_reader.h"

namespace parkd {
namespace {

// SentencePiece, sentencepiece_model.proto: the fields that matter here, by number.
enum ModelField : uint32_t { kPieces = 1, kTrainer = 2, kNormalizer = 3 };
enum PieceField : uint32_t { kPiece = 1, kScore = 2, kType = 3 };
enum TrainerField : uint32_t { kModelType = 3, kSpaceBehind = 24, kBosId = 41, kEosId = 42 };
enum NormalizerField : uint32_t {
  kCharsMap = 2,
  kAddDummyPrefix = 3,
  kRemoveExtraSpaces = 4,
  kEscapeSpaces = 5
};

class SpmModel {
 public:
  SpmModel(std::string_view file, std::string_view bytes) : file_(file), bytes_(bytes) {}

  Result<Vocabulary> read() {
    WireReader model(bytes_);
    while (const std::optional<WireField> field = model.next()) {
      Status status;
      if (field->number == kPieces) status = read_piece(field->bytes);
      if (field->number == kTrainer) status = read_trainer(field->bytes);
      if (field->number == kNormalizer) status = read_normalizer(field->bytes);
      if (!status.ok()) return status;
    }
    if (model.broken()) return broken("its model");
    if (made_.tokens.empty()) return wrong("is not a SentencePiece model: it has no pieces");
    PARKD_RETURN_IF_ERROR(check_supported());
    PARKD_RETURN_IF_ERROR(take_id("bos_id", bos_, made_.bos));
    PARKD_RETURN_IF_ERROR(take_id("eos_id", eos_, made_.eos));
    made_.add_bos = made_.bos.has_value();
    const Status status = make_pieces(adds_space_, made_);
    if (!status.ok()) return wrong(status.message());
    return std::move(made_);
  }

 private:
  Status wrong(const std::string& why) const { return corrupt(file_ + ": " + why); }
  Status broken(const std::string& what) const {
    return wrong(what + " ends early or is not a Protocol Buffers message");
  }

  Status read_piece(std::string_view bytes) {
    const std::string place = "piece " + std::to_string(made_.tokens.size());
    if (static_cast<int64_t>(made_.tokens.size()) >= kVocabTokensMax) {
      return wrong("has more than " + std::to_string(kVocabTokensMax) + " pieces");
    }
    VocabularyToken token;
    float score = 0;
    WireReader piece(bytes);
    while (const std::optional<WireField> field = piece.next()) {
      if (field->number == kPiece) token.text = std::string(field->bytes);
      if (field->number == kScore)
        score = std::bit_cast<float>(static_cast<uint32_t>(field->value));
      if (field->number == kType) {
        switch (field->value) {
          case 1:
            token.kind = TokenKind::text;
            break;
          case 2:
            token.kind = TokenKind::unknown;
            break;
          case 3:
            token.kind = TokenKind::control;
            break;
          case 4:
            token.kind = TokenKind::user_defined;
            break;
          case 6:
            token.kind = TokenKind::byte;
            break;
          default:
            return invalid(file_ + ": " + place + " " + json_string(token.text) + " is of type " +
                           std::to_string(field->value) + ", which is not supported yet");
        }
      }
    }
    if (piece.broken()) return broken(place);
    if (!is_valid_utf8(token.text)) return wrong(place + " is not UTF-8");
    // To SentencePiece it would be another character than U+2581, which spells spaces.
    if (token.text.find(' ') != std::string::npos) {
      return invalid(file_ + ": " + place + " " + json_string(token.text) +
                     " has a space that is not U+2581, which is not supported yet");
    }
    const bool is_added = token.kind == TokenKind::control ||
                          token.kind == TokenKind::user_defined || token.kind == TokenKind::unknown;
    if (is_added) {
      if (token.text.empty() || token.text.size() > kAddedTokenBytesMax) {
        return wrong(place + " has a name of " + std::to_string(token.text.size()) +
                     " bytes, the limits are 1 and " + std::to_string(kAddedTokenBytesMax));
      }
      AddedToken added;
      added.id = static_cast<TokenId>(made_.tokens.size());
      added.text = token.text;
      made_.added.push_back(std::move(added));
    }
    made_.tokens.push_back(std::move(token));
    made_.scores.push_back(score);
    return {};
  }

  Status read_trainer(std::string_view bytes) {
    WireReader trainer(bytes);
    while (const std::optional<WireField> field = trainer.next()) {
      if (field->number == kModelType) model_type_ = field->value;
      if (field->number == kSpaceBehind) space_behind_ = field->value != 0;
      if (field->number == kBosId) bos_ = static_cast<int32_t>(field->value);
      if (field->number == kEosId) eos_ = static_cast<int32_t>(field->value);
    }
    return trainer.broken() ? broken("trainer_spec") : Status();
  }

  Status read_normalizer(std::string_view bytes) {
    WireReader normalizer(bytes);
    while (const std::optional<WireField> field = normalizer.next()) {
      if (field->number == kCharsMap) has_chars_map_ = !field->bytes.empty();
      if (field->number == kAddDummyPrefix) adds_space_ = field->value != 0;
      if (field->number == kRemoveExtraSpaces) removes_spaces_ = field->value != 0;
      if (field->number == kEscapeSpaces) escapes_spaces_ = field->value != 0;
    }
    return normalizer.broken() ? broken("normalizer_spec") : Status();
  }

  Status check_supported() const {
    const auto unsupported = [&](const std::string& what) {
      return invalid(file_ + ": " + what + " is not supported yet");
    };
    if (model_type_ != 2) {
      return unsupported("trainer_spec.model_type " + std::to_string(model_type_) +
                         (model_type_ == 1 ? " (UNIGRAM)" : "") + " (2, BPE, is)");
    }
    if (space_behind_) return unsupported("trainer_spec.treat_whitespace_as_suffix true");
    if (has_chars_map_) {
      return unsupported("normalizer_spec.precompiled_charsmap, which changes characters (NFKC),");
    }
    if (removes_spaces_) return unsupported("normalizer_spec.remove_extra_whitespaces true");
    if (!escapes_spaces_) return unsupported("normalizer_spec.escape_whitespaces false");
    return {};
  }

  Status take_id(const char* name, int32_t id, std::optional<TokenId>& taken) const {
    if (id < 0) return {};  // SentencePiece's "there is none"
    if (static_cast<size_t>(id) >= made_.tokens.size()) {
      return wrong("trainer_spec." + std::string(name) + " is " + std::to_string(id) +
                   ", there are " + std::to_string(made_.tokens.size()) + " pieces");
    }
    if (made_.tokens[static_cast<size_t>(id)].kind == TokenKind::control) taken = id;
    return {};
  }

  const std::string file_;
  const std::string_view bytes_;
  Vocabulary made_;
  // The defaults of sentencepiece_model.proto.
  uint64_t model_type_ = 1;
  bool space_behind_ = false;
  int32_t bos_ = 1;
  int32_t eos_ = 2;
  bool has_chars_map_ = false;
  bool adds_space_ = true;
  bool removes_spaces_ = true;
  bool escapes_spaces_ = true;
};

}  // namespace

Result<Vocabulary> read_tokenizer_model(std::string_view file, std::string_view bytes) {
  return SpmModel(file, bytes).read();
}

}  // namespace parkd
