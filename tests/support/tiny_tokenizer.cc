#include "tests/support/tiny_tokenizer.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/text/byte_alphabet.h"

namespace parkd::testing {
namespace {

// Both parts of each merge are bytes or earlier merges.
constexpr std::array<std::pair<std::string_view, std::string_view>, 38> kMerges = {{
    {" ", "t"},       {" ", "a"},       {"h", "e"},   {"i", "n"},   {"r", "e"},   {"o", "n"},
    {" t", "he"},     {"e", "r"},       {" ", "s"},   {"a", "t"},   {" ", "c"},   {"n", "d"},
    {"i", "s"},       {"o", "r"},       {"i", "t"},   {"e", "n"},   {"a", "l"},   {" ", "o"},
    {"in", "g"},      {" o", "f"},      {" a", "nd"}, {" ", " "},   {"  ", "  "}, {"e", "s"},
    {"a", "n"},       {" ", "w"},       {"o", "u"},   {" ", "p"},   {"at", "i"},  {"ati", "on"},
    {"s", "t"},       {"u", "s"},       {"er", "s"},  {"us", "er"}, {"l", "l"},   {"\n", "\n"},
    {"\xc3", "\xa4"}, {"\xe4", "\xb8"},
}};

}  // namespace

TinyVocabulary tiny_vocabulary() {
  TinyVocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    vocabulary.texts.push_back(byte_level_text_of({&c, 1}));
  }
  for (const auto& [left, right] : kMerges) {
    const std::string first = byte_level_text_of(left);
    const std::string second = byte_level_text_of(right);
    vocabulary.merges.push_back(first + " " + second);
    vocabulary.texts.push_back(first + second);
  }
  return vocabulary;
}

std::string tiny_tokenizer_json(const TinyVocabulary& vocabulary) {
  JsonWriter json;
  json.begin_object().member("version", "1.0").member("truncation", nullptr);
  json.member("padding", nullptr).begin_array("added_tokens");
  for (size_t id = 0; id < vocabulary.n_special; ++id) {
    json.begin_object().member("id", id).member("content", vocabulary.texts[id]);
    json.member("single_word", false).member("lstrip", false).member("rstrip", false);
    json.member("normalized", false).member("special", true).end_object();
  }
  json.end_array().member("normalizer", nullptr);
  json.begin_object("pre_tokenizer").member("type", "Sequence").begin_array("pretokenizers");
  json.begin_object().member("type", "Digits").member("individual_digits", true).end_object();
  json.begin_object().member("type", "ByteLevel").member("add_prefix_space", false);
  json.member("trim_offsets", true).member("use_regex", true).end_object();
  json.end_array().end_object();
  json.member("post_processor", nullptr).begin_object("decoder").member("type", "ByteLevel");
  json.member("add_prefix_space", true).member("trim_offsets", true).member("use_regex", true);
  json.end_object().begin_object("model").member("type", "BPE").member("dropout", nullptr);
  json.member("unk_token", nullptr).member("continuing_subword_prefix", nullptr);
  json.member("end_of_word_suffix", nullptr).member("fuse_unk", false);
  json.member("byte_fallback", false).member("ignore_merges", false).begin_object("vocab");
  for (size_t id = 0; id < vocabulary.texts.size(); ++id) json.member(vocabulary.texts[id], id);
  json.end_object().begin_array("merges");
  for (const std::string& merge : vocabulary.merges) json.element(merge);
  json.end_array().end_object().end_object();
  return json.take();
}

void add_tiny_vocabulary(GgufWriter& writer, const TinyVocabulary& vocabulary,
                         const std::string& pre_tokenizer) {
  std::vector<int32_t> types(vocabulary.texts.size(), 1);
  std::fill_n(types.begin(), vocabulary.n_special, 3);
  writer.add_string("tokenizer.ggml.model", "gpt2");
  writer.add_string("tokenizer.ggml.pre", pre_tokenizer);
  writer.add_strings("tokenizer.ggml.tokens", vocabulary.texts);
  writer.add_i32s("tokenizer.ggml.token_type", types);
  writer.add_strings("tokenizer.ggml.merges", vocabulary.merges);
  writer.add_u32("tokenizer.ggml.bos_token_id", 1);
  writer.add_u32("tokenizer.ggml.eos_token_id", 2);
  writer.add_bool("tokenizer.ggml.add_bos_token", false);
  writer.add_string("tokenizer.chat_template", kTinyTemplate);
}

}  // namespace parkd::testing
