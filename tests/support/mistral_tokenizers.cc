#include "tests/support/mistral_tokenizers.h"

#include <array>
#include <bit>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/json_writer.h"

namespace parkd::testing {
namespace {

// Both parts of each are characters or earlier ones.
constexpr std::array<std::pair<std::string_view, std::string_view>, 16> kWords = {{
    {" ", "t"},
    {"h", "e"},
    {"i", "n"},
    {"r", "e"},
    {"o", "n"},
    {" t", "he"},
    {" ", "a"},
    {"n", "d"},
    {" a", "nd"},
    {"e", "r"},
    {"o", "u"},
    {"in", "g"},
    {" ", "s"},
    {"l", "l"},
    {"he", "ll"},
    {"hell", "o"},
}};

constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const std::map<int32_t, std::string_view> kTekkenNames = {{0, "<unk>"},
                                                          {1, "<s>"},
                                                          {2, "</s>"},
                                                          {3, "[INST]"},
                                                          {4, "[/INST]"},
                                                          {5, "[AVAILABLE_TOOLS]"},
                                                          {6, "[/AVAILABLE_TOOLS]"},
                                                          {7, "[TOOL_RESULTS]"},
                                                          {8, "[/TOOL_RESULTS]"},
                                                          {9, "[TOOL_CALLS]"},
                                                          {10, "[IMG]"},
                                                          {11, "<pad>"},
                                                          {17, "[SYSTEM_PROMPT]"},
                                                          {18, "[/SYSTEM_PROMPT]"},
                                                          {32, "[ARGS]"},
                                                          {33, "[CALL_ID]"},
                                                          {34, "[THINK]"},
                                                          {35, "[/THINK]"}};

constexpr std::array<std::string_view, 10> kPieceNames = {"<unk>",
                                                          "<s>",
                                                          "</s>",
                                                          "[INST]",
                                                          "[/INST]",
                                                          "[TOOL_CALLS]",
                                                          "[AVAILABLE_TOOLS]",
                                                          "[/AVAILABLE_TOOLS]",
                                                          "[TOOL_RESULTS]",
                                                          "[/TOOL_RESULTS]"};

std::string base64_of(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) {
      bits = bits << 8 | (i + j < bytes.size() ? static_cast<uint8_t>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) {
      text += i + j > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * j) & 63];
    }
  }
  return text;
}

std::string with_space_signs(std::string_view text) {
  std::string spelled;
  for (const char c : text) spelled += c == ' ' ? std::string("\xe2\x96\x81") : std::string(1, c);
  return spelled;
}

// Protocol Buffers, as sentencepiece_model.proto numbers its fields.
void put_number(std::string& out, uint64_t value) {
  for (; value > 0x7f; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}
void put_field(std::string& out, uint32_t field, uint64_t value) {
  put_number(out, uint64_t{field} << 3);
  put_number(out, value);
}
void put_field(std::string& out, uint32_t field, std::string_view bytes) {
  put_number(out, uint64_t{field} << 3 | 2);
  put_number(out, bytes.size());
  out += bytes;
}
void put_float(std::string& out, uint32_t field, float value) {
  put_number(out, uint64_t{field} << 3 | 5);
  const auto bits = std::bit_cast<uint32_t>(value);
  for (const int shift : {0, 8, 16, 24}) out += static_cast<char>(bits >> shift & 0xff);
}

enum PieceType : uint64_t { normal = 1, unknown = 2, control = 3, byte = 6 };

struct Piece {
  std::string text;
  PieceType type;
  float score = 0;
};

std::vector<Piece> make_pieces() {
  constexpr size_t kControlPieces = 771;
  std::vector<Piece> pieces;
  for (size_t i = 0; i < kControlPieces; ++i) {
    const bool named = i < kPieceNames.size();
    pieces.push_back(
        {named ? std::string(kPieceNames[i]) : "[control_" + std::to_string(i - 2) + "]",
         i == 0 ? unknown : control});
  }
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (size_t i = 0; i < 256; ++i) {
    pieces.push_back({std::string("<0x") + kDigits[i / 16] + kDigits[i % 16] + ">", byte});
  }
  float score = 0;
  for (const auto& [left, right] : kWords) {
    pieces.push_back({with_space_signs(std::string(left) + std::string(right)), normal, score--});
  }
  for (char c = ' '; c <= '~'; ++c) {
    pieces.push_back({with_space_signs({&c, 1}), normal, score--});
  }
  return pieces;
}

std::string model_of(const std::vector<Piece>& pieces) {
  std::string model;
  for (const Piece& each : pieces) {
    std::string piece;
    put_field(piece, 1, each.text);
    put_float(piece, 2, each.score);
    put_field(piece, 3, uint64_t{each.type});
    put_field(model, 1, piece);
  }
  std::string trainer;
  put_field(trainer, 3, uint64_t{2});   // BPE
  put_field(trainer, 35, uint64_t{1});  // byte_fallback
  put_field(trainer, 41, uint64_t{1});  // bos_id
  put_field(trainer, 42, uint64_t{2});  // eos_id
  put_field(model, 2, trainer);
  std::string normalizer;
  put_field(normalizer, 1, "identity");
  put_field(normalizer, 3, uint64_t{1});  // add_dummy_prefix
  put_field(normalizer, 4, uint64_t{0});  // remove_extra_whitespaces
  put_field(normalizer, 5, uint64_t{1});  // escape_whitespaces
  put_field(model, 3, normalizer);
  return model;
}

void add_template(JsonWriter& json) {
  json.begin_object("post_processor").member("type", "TemplateProcessing").begin_array("single");
  json.begin_object().begin_object("SpecialToken").member("id", "<s>").member("type_id", 0);
  json.end_object().end_object();
  json.begin_object().begin_object("Sequence").member("id", "A").member("type_id", 0);
  json.end_object().end_object().end_array().begin_array("pair").end_array();
  json.begin_object("special_tokens").begin_object("<s>").member("id", "<s>");
  json.begin_array("ids").element(1).end_array().begin_array("tokens").element("<s>").end_array();
  json.end_object().end_object().end_object();
}

std::string json_of(const std::vector<Piece>& pieces) {
  JsonWriter json;
  json.begin_object().member("version", "1.0").member("truncation", nullptr);
  json.member("padding", nullptr).begin_array("added_tokens");
  for (size_t id = 0; pieces[id].type == unknown || pieces[id].type == control; ++id) {
    json.begin_object().member("id", id).member("content", pieces[id].text);
    json.member("single_word", false).member("lstrip", false).member("rstrip", false);
    json.member("normalized", false).member("special", true).end_object();
  }
  json.end_array().member("normalizer", nullptr);
  json.begin_object("pre_tokenizer").member("type", "Metaspace");
  json.member("replacement", "\xe2\x96\x81").member("prepend_scheme", "first");
  json.member("split", false).end_object();
  add_template(json);
  json.begin_object("decoder").member("type", "Sequence").begin_array("decoders");
  json.begin_object().member("type", "Replace").begin_object("pattern");
  json.member("String", "\xe2\x96\x81").end_object().member("content", " ").end_object();
  json.begin_object().member("type", "ByteFallback").end_object();
  json.begin_object().member("type", "Fuse").end_object();
  json.begin_object().member("type", "Strip").member("content", " ").member("start", 1);
  json.member("stop", 0).end_object().end_array().end_object();
  json.begin_object("model").member("type", "BPE").member("dropout", nullptr);
  json.member("unk_token", "<unk>").member("continuing_subword_prefix", nullptr);
  json.member("end_of_word_suffix", nullptr).member("fuse_unk", true);
  json.member("byte_fallback", true).member("ignore_merges", false).begin_object("vocab");
  for (size_t id = 0; id < pieces.size(); ++id) json.member(pieces[id].text, id);
  json.end_object().begin_array("merges");
  for (const auto& [left, right] : kWords) {
    json.element(with_space_signs(left) + " " + with_space_signs(right));
  }
  json.end_array().end_object().end_object();
  return json.take();
}

}  // namespace

MistralTokenizer tekken_tokenizer() {
  constexpr int32_t kControl = 1000;
  MistralTokenizer made;
  made.n_control = kControl;
  made.vocab = kControl + 256 + static_cast<int32_t>(kWords.size());
  JsonWriter json;
  json.begin_object().begin_object("config").member("pattern", kTekkenPattern);
  json.member("num_vocab_tokens", made.vocab - kControl + 1);
  json.member("default_vocab_size", made.vocab);
  json.member("default_num_special_tokens", kControl).member("version", "v13").end_object();
  json.begin_array("vocab");
  int32_t rank = 0;
  const auto add = [&](std::string_view bytes) {
    json.begin_object().member("rank", rank++).member("token_bytes", base64_of(bytes));
    json.member("token_str", nullptr).end_object();
  };
  for (int i = 0; i < 256; ++i) {
    const char c = static_cast<char>(i);
    add({&c, 1});
  }
  for (const auto& [left, right] : kWords) add(std::string(left) + std::string(right));
  add("left out");
  json.end_array().begin_array("special_tokens");
  for (int32_t i = 0; i < kControl; ++i) {
    const auto name = kTekkenNames.find(i);
    json.begin_object().member("rank", i);
    json.member("token_str", name == kTekkenNames.end() ? "<SPECIAL_" + std::to_string(i) + ">"
                                                        : std::string(name->second));
    json.member("is_control", true).end_object();
  }
  json.end_array().begin_object("image").member("image_patch_size", 14);
  made.tekken_json = json.member("max_image_size", 1540).end_object().end_object().take();
  return made;
}

MistralTokenizer sentencepiece_tokenizer() {
  const std::vector<Piece> pieces = make_pieces();
  MistralTokenizer made;
  for (const Piece& piece : pieces)
    made.n_control += piece.type == byte || piece.type == normal ? 0 : 1;
  made.vocab = static_cast<int32_t>(pieces.size());
  made.tokenizer_model = model_of(pieces);
  made.tokenizer_json = json_of(pieces);
  return made;
}

}  // namespace parkd::testing
