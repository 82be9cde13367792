// What the readers of each format refuse, and the words they do it with; what added tokens do.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/text/tokenizer.h"
#include "lib/text/vocabulary_readers.h"
#include "tests/support/gguf_writer.h"

namespace parkd {
namespace {

using Kind = PromptSegment::Kind;

// A small byte-level tokenizer.json; `more` begins with a comma, or is empty.
std::string json_of(const std::string& vocab, const std::string& merges,
                    const std::string& more = "") {
  return R"({"model":{"type":"BPE","vocab":{)" + vocab + R"(},"merges":[)" + merges + "]}" +
         (more.find("pre_tokenizer") == std::string::npos
              ? R"(,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true})"
              : "") +
         more + "}";
}

const std::string kAb = R"("a":0,"b":1,"ab":2)";

void expect_json_refusal(const std::string& text, StatusCode code, const std::string& words) {
  const auto made = read_tokenizer_json("t.json", text);
  ASSERT_FALSE(made.ok()) << text;
  EXPECT_EQ(made.status().code(), code) << made.status().to_string();
  EXPECT_EQ(made.status().message().substr(0, 7), "t.json:") << made.status().message();
  EXPECT_NE(made.status().message().find(words), std::string::npos) << made.status().message();
}

TEST(TokenizerJson, what_contradicts_itself_is_refused_with_its_place) {
  EXPECT_TRUE(read_tokenizer_json("t.json", json_of(kAb, R"("a b")")).ok());
  EXPECT_TRUE(read_tokenizer_json("t.json", json_of(kAb, R"(["a","b"])")).ok());
  const auto corrupt = StatusCode::corrupt;
  expect_json_refusal("[]", corrupt, "not an object");
  expect_json_refusal("{\"model\":", StatusCode::invalid, "not JSON");
  expect_json_refusal("{}", corrupt, "model is missing");
  expect_json_refusal(json_of("", ""), corrupt, "model.vocab is not an object with a token");
  expect_json_refusal(json_of(R"("a":0,"b":0)", ""), corrupt, "gives id 0 to two tokens");
  expect_json_refusal(json_of(R"("a":0,"b":-1)", ""), corrupt, "\"b\" has the id -1");
  expect_json_refusal(json_of(R"("a":0,"b":9999999)", ""), corrupt, "2 tokens and an id 9999999");
  expect_json_refusal(json_of(R"("a":0,"b":1e18)", ""), corrupt, "\"b\" has the id");
  expect_json_refusal(json_of(R"("a":"x")", ""), corrupt, "\"a\" has the id \"x\"");
  expect_json_refusal(json_of(kAb, R"("a c")"), corrupt, "model.merges[0] \"a c\" names a token");
  expect_json_refusal(json_of(kAb, R"("ab")"), corrupt, "no space");
  expect_json_refusal(json_of(kAb, R"(["a"])"), corrupt, "neither a text nor a pair");
  expect_json_refusal(json_of(kAb, "", R"(,"added_tokens":[{"id":1,"content":"x"}])"), corrupt,
                      "added_tokens[0] \"x\" has the id of \"b\"");
  expect_json_refusal(json_of(kAb, "", R"(,"added_tokens":[{"id":16000000,"content":"x"}])"),
                      corrupt, "added_tokens[0] has the id 16000000");
  expect_json_refusal(json_of(kAb, "", R"(,"added_tokens":[{"id":3,"content":""}])"), corrupt,
                      "added_tokens[0] has no id, or no content");
  expect_json_refusal(
      json_of(
          kAb, "",
          R"(,"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}]})"),
      corrupt, "names a token that is not there");
}

TEST(TokenizerJson, what_is_not_supported_is_refused_by_name) {
  const auto invalid = StatusCode::invalid;
  expect_json_refusal(R"({"model":{"type":"WordPiece","vocab":{"a":0}}})", invalid,
                      "\"WordPiece\"");
  expect_json_refusal(R"({"model":{"type":"Unigram","vocab":[]}})", invalid, "\"Unigram\"");
  expect_json_refusal(json_of(kAb, "", R"(,"normalizer":{"type":"NFKC"})"), invalid, "\"NFKC\"");
  expect_json_refusal(
      json_of(kAb, "", R"(,"normalizer":{"type":"Sequence","normalizers":[{"type":"Lowercase"}]})"),
      invalid, "\"Lowercase\"");
  expect_json_refusal(json_of(kAb, "", R"(,"pre_tokenizer":{"type":"Whitespace"})"), invalid,
                      "\"Whitespace\"");
  expect_json_refusal(
      json_of(
          kAb, "",
          R"(,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\bx"},"behavior":"Isolated"})"),
      invalid, "\\\\b");
  expect_json_refusal(
      json_of(
          kAb, "",
          R"(,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"x"},"behavior":"MergedWithNext"})"),
      invalid, "\"MergedWithNext\"");
  expect_json_refusal(json_of(kAb, "", R"(,"post_processor":{"type":"BertProcessing"})"), invalid,
                      "\"BertProcessing\"");
  expect_json_refusal(json_of(kAb, "", R"(,"decoder":{"type":"WordPiece"})"), invalid,
                      "\"WordPiece\"");
}

TEST(TokenizerJson, merges_that_stand_there_twice_are_refused) {
  auto vocabulary = read_tokenizer_json("t.json", json_of(kAb, R"("a b","a b")"));
  const auto made = Tokenizer::make(std::move(vocabulary).value());
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().message(), "merge 1 of \"a\" and \"b\" stands there twice");
}

TEST(TokenizerJson, a_decoder_or_a_dropout_that_is_not_ours_is_refused) {
  expect_json_refusal(
      json_of(kAb, "", R"(,"decoder":{"type":"Replace","pattern":{"String":"x"},"content":"y"})"),
      StatusCode::invalid, "Replace of anything but U+2581");
  expect_json_refusal(R"({"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}})",
                      StatusCode::invalid, "model.dropout 1E-1");
}

TEST(TokenizerJson, a_name_has_one_id) {
  expect_json_refusal(
      json_of(kAb, R"("a b")", R"(,"added_tokens":[{"id":3,"content":"ab","special":true}])"),
      StatusCode::corrupt, "added_tokens[0] \"ab\" has the id 3, and 2 in model.vocab");
  expect_json_refusal(
      json_of(kAb, "", R"(,"added_tokens":[{"id":3,"content":"x"},{"id":4,"content":"x"}])"),
      StatusCode::corrupt, "added_tokens[1] \"x\" stands there twice");
}

TEST(TokenizerConfig, an_added_token_does_not_take_the_place_of_another) {
  const auto applied = [](const std::string& id, const std::string& content) {
    auto vocabulary = read_tokenizer_json("t.json", json_of(kAb, R"("a b")")).value();
    const auto config = read_tokenizer_config(
        "c.json", R"({"added_tokens_decoder":{")" + id + R"(":{"content":")" + content + "\"}}}");
    return apply_tokenizer_config("c.json", config.value(), vocabulary);
  };
  EXPECT_TRUE(applied("3", "<x>").ok());
  EXPECT_TRUE(applied("2", "ab").ok());
  const Status status = applied("2", "<x>");
  EXPECT_EQ(status.code(), StatusCode::corrupt);
  EXPECT_EQ(status.message(),
            "c.json: added_tokens_decoder gives id 2 to \"<x>\", the vocabulary to \"ab\"");
}

std::vector<TokenId> ids_of(const Tokenizer& tokenizer, std::string text, Kind kind) {
  const std::vector<PromptSegment> prompt = {{kind, std::move(text)}};
  return tokenizer.encode_prompt(prompt).value();
}

TEST(AddedTokens, take_white_space_and_stand_alone_as_the_file_says) {
  const std::string added =
      R"(,"added_tokens":[
        {"id":3,"content":"<l>","lstrip":true,"special":true},
        {"id":4,"content":"<r>","rstrip":true,"special":true},
        {"id":5,"content":"aa","single_word":true},
        {"id":6,"content":"<tool_call>"},
        {"id":7,"content":"</td>"},
        {"id":8,"content":"<|end|>","special":true}])";
  const auto tokenizer =
      Tokenizer::make(read_tokenizer_json("t.json", json_of(kAb, R"("a b")", added)).value())
          .value();
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(ids_of(*tokenizer, "a \t<l>b", Kind::literal), (Ids{0, 3, 1}));
  EXPECT_EQ(ids_of(*tokenizer, "a<r>\n\u3000b", Kind::literal), (Ids{0, 4, 1}));
  EXPECT_EQ(ids_of(*tokenizer, "aa", Kind::content), (Ids{5}));
  EXPECT_EQ(ids_of(*tokenizer, "aab", Kind::content), (Ids{0, 2})) << "a letter follows";
  EXPECT_EQ(ids_of(*tokenizer, "aa!", Kind::content), (Ids{5})) << "'!' has no token";
  EXPECT_EQ(ids_of(*tokenizer, "a</td>b", Kind::content), (Ids{0, 7, 1})) << "HTML is text";
  EXPECT_EQ(ids_of(*tokenizer, "a<tool_call>b", Kind::content), (Ids{0, 0, 1}))
      << "a marker in a user's text is letters, of which these have tokens";
  EXPECT_EQ(ids_of(*tokenizer, "a<tool_call>b", Kind::literal), (Ids{0, 6, 1}));
  EXPECT_EQ(tokenizer->decode(Ids{0, 6, 7, 8}), "a<tool_call></td>");
  const std::vector<PromptSegment> border = {{Kind::literal, "<|end"}, {Kind::content, "|>"}};
  EXPECT_EQ(tokenizer->encode_prompt(border).value(), Ids{});
  EXPECT_EQ(tokenizer->end_tokens().front(), 8);
}

TEST(AddedTokens, merges_of_a_users_text_end_before_a_special_token) {
  const std::string vocab = R"("<":0,"ab":1,">":2,"<ab":3,"<ab>":4,"a":5,"b":6)";
  const std::string merges = R"("a b","< ab","<ab >")";
  const std::string one_word =
      R"(,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":false})";
  for (const char* special : {"true", "false"}) {
    const std::string added =
        R"(,"added_tokens":[{"id":4,"content":"<ab>","special":)" + std::string(special) + "}]";
    const auto tokenizer =
        Tokenizer::make(
            read_tokenizer_json("t.json", json_of(vocab, merges, one_word + added)).value())
            .value();
    using Ids = std::vector<TokenId>;
    EXPECT_EQ(ids_of(*tokenizer, "<ab>", Kind::content), (Ids{3, 2})) << special;
    EXPECT_EQ(ids_of(*tokenizer, "<ab>", Kind::literal), Ids{4});
  }
}

// A message of Protocol Buffers, by hand.
std::string field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) +
         bytes;
}
std::string field(int number, int value) {
  return std::string(1, static_cast<char>(number << 3)) + static_cast<char>(value);
}
std::string piece(const std::string& text, int type) {
  return field(1, field(1, text) + field(3, type));
}
const std::string kBpe = field(2, field(3, 2));
const std::string kKeepsSpaces = field(3, field(4, 0));

void expect_model_refusal(const std::string& bytes, StatusCode code, const std::string& words) {
  const auto made = read_tokenizer_model("t.model", bytes);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), code) << made.status().to_string();
  EXPECT_NE(made.status().message().find(words), std::string::npos) << made.status().message();
}

TEST(TokenizerModel, broken_and_unsupported_files_are_refused) {
  const std::string good =
      piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("a", 1) + kBpe + kKeepsSpaces;
  ASSERT_TRUE(read_tokenizer_model("t.model", good).ok());
  for (size_t size = 0; size < good.size(); ++size) {  // cut anywhere: an answer
    (void)read_tokenizer_model("t.model", good.substr(0, size));
  }
  const auto corrupt = StatusCode::corrupt;
  const auto invalid = StatusCode::invalid;
  expect_model_refusal("", corrupt, "it has no pieces");
  expect_model_refusal("not a model", corrupt, "is not a Protocol Buffers message");
  expect_model_refusal(good.substr(0, 5), corrupt, "ends early");
  expect_model_refusal(piece("\xff", 1) + kBpe + kKeepsSpaces, corrupt, "piece 0 is not UTF-8");
  expect_model_refusal(piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("<0xZZ>", 6) +
                           kBpe + kKeepsSpaces,
                       corrupt, "not named as <0x0A> is");
  expect_model_refusal(piece("a", 1) + kKeepsSpaces, invalid, "1 (UNIGRAM)");
  expect_model_refusal(piece("a", 1) + kBpe, invalid, "remove_extra_whitespaces true");
  expect_model_refusal(piece("a", 1) + kBpe + kKeepsSpaces + field(3, field(2, "nfkc")), invalid,
                       "precompiled_charsmap");
  expect_model_refusal(piece("a", 5) + kBpe + kKeepsSpaces, invalid, "of type 5");
}

TEST(Tekken, broken_files_are_refused_with_their_place) {
  const auto file = [](const std::string& config, const std::string& vocab) {
    return R"({"config":{"pattern":"[a-z]+",)" + config + R"(},"vocab":[)" + vocab + "]}";
  };
  const std::string two = R"("default_vocab_size":4,"default_num_special_tokens":2)";
  const std::string a = R"({"rank":0,"token_bytes":"YQ==","token_str":"\u0000"})";
  const std::string b = R"({"rank":1,"token_bytes":"Yg=="})";
  const auto good = read_tekken_json("t", file(two, a + "," + b));
  ASSERT_TRUE(good.ok()) << good.status().to_string();
  EXPECT_EQ(good->tokens[3].text, "b");
  const auto refusal = [&](const std::string& text) {
    const auto made = read_tekken_json("t", text);
    return made.ok() ? "taken" : made.status().message();
  };
  EXPECT_NE(refusal(file(two, a)).find("fewer than 2"), std::string::npos);
  EXPECT_NE(refusal(file(two, a + "," + a)).find("vocab[1] has no token_bytes"), std::string::npos);
  EXPECT_NE(refusal(file(two, a + R"(,{"rank":1,"token_bytes":"!"})")).find("base64"),
            std::string::npos);
  EXPECT_NE(refusal(file(two, a + R"(,{"rank":1e300,"token_bytes":"YQ=="})")).find("vocab[1]"),
            std::string::npos);
  EXPECT_NE(
      refusal(file(R"("default_vocab_size":2,"default_num_special_tokens":2)", a)).find("config"),
      std::string::npos);
  EXPECT_NE(refusal(file(R"("default_vocab_size":99999999,"default_num_special_tokens":2)", a))
                .find("config"),
            std::string::npos);
  EXPECT_NE(refusal(file(R"("default_vocab_size":65538,"default_num_special_tokens":65537)", a))
                .find("config.default_num_special_tokens is 65537, the limit is 65536"),
            std::string::npos)
      << "each is made before a word of the file is looked at";
}

TEST(GgufVocabulary, a_name_that_is_not_utf8_is_refused) {
  // It would be found within a character of a user's text, and cut it.
  testing::GgufWriter writer;
  writer.add_string("tokenizer.ggml.model", "llama");
  writer.add_strings("tokenizer.ggml.tokens", std::vector<std::string>{"a", "\xa4"});
  writer.add_i32s("tokenizer.ggml.token_type", std::vector<int32_t>{1, 4});
  writer.add_f32s("tokenizer.ggml.scores", std::vector<float>{0, 0});
  writer.add_bool("tokenizer.ggml.add_bos_token", false);
  const auto file = GgufFile::from_bytes("m.gguf", writer.bytes()).value();
  const auto tokenizer = Tokenizer::load(*file);
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.status().code(), StatusCode::corrupt);
  EXPECT_EQ(tokenizer.status().message(), "m.gguf: token 1 has a name that is not UTF-8");
}

TEST(GgufVocabulary, phi_3s_markers_take_the_white_space_behind_them) {
  const auto load = [](const char* architecture) {
    testing::GgufWriter writer;
    writer.add_string("general.architecture", architecture);
    writer.add_string("tokenizer.ggml.model", "llama");
    writer.add_strings("tokenizer.ggml.tokens",
                       std::vector<std::string>{"<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a",
                                                "\u2581a", "<|endoftext|>", "<|user|>"});
    writer.add_i32s("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 6, 1, 1, 1, 3, 3});
    writer.add_f32s("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, 0, -9, -9, -3, 0, 0});
    writer.add_bool("tokenizer.ggml.add_bos_token", false);
    const auto file = GgufFile::from_bytes("m.gguf", writer.bytes()).value();
    return Tokenizer::load(*file).value();
  };
  using Ids = std::vector<TokenId>;
  const auto phi3 = load("phi3");
  EXPECT_EQ(ids_of(*phi3, "<|user|>\n a", Kind::literal), (Ids{8, 6}));
  EXPECT_EQ(ids_of(*phi3, "<|endoftext|>\na", Kind::literal), (Ids{7, 4, 3, 5}));
  EXPECT_EQ(ids_of(*phi3, "<s> a", Kind::literal), (Ids{1, 6}));
  EXPECT_EQ(ids_of(*load("llama"), "<|user|>\na", Kind::literal), (Ids{8, 4, 3, 5}));
}

TEST(SentencePiece, the_highest_score_merges_first_and_what_has_no_token_becomes_bytes) {
  testing::GgufWriter writer;
  writer.add_string("tokenizer.ggml.model", "llama");
  writer.add_strings("tokenizer.ggml.tokens",
                     std::vector<std::string>{"<unk>", "<s>", "</s>", "<0xC3>", "<0xA4>", "\u2581",
                                              "a", "b", "ab", "ba", "\u2581a", "<turn>"});
  writer.add_i32s("tokenizer.ggml.token_type",
                  std::vector<int32_t>{2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 3});
  writer.add_f32s("tokenizer.ggml.scores",
                  std::vector<float>{0, 0, 0, 0, 0, -9, -9, -9, -2, -1, -3, 0});
  writer.add_u32("tokenizer.ggml.bos_token_id", 1);
  writer.add_u32("tokenizer.ggml.eos_token_id", 2);
  const auto file = GgufFile::from_bytes("m.gguf", writer.bytes()).value();
  const auto tokenizer = Tokenizer::load(*file).value();
  using Ids = std::vector<TokenId>;
  EXPECT_EQ(tokenizer->encode("abab", SpecialTokens::as_text).value(), (Ids{10, 9, 7}));
  EXPECT_EQ(tokenizer->encode("\u00e4", SpecialTokens::as_text).value(), (Ids{5, 3, 4}));
  EXPECT_EQ(tokenizer->encode("\u65e5z", SpecialTokens::as_text).value(), (Ids{5, 0}))
      << "one unknown token for several";
  EXPECT_EQ(tokenizer->decode(Ids{1, 10, 10, 3, 4, 2}), "a a\u00e4");
  EXPECT_EQ(ids_of(*tokenizer, "a<turn>a<turn> a", Kind::literal), (Ids{1, 10, 11, 10, 11, 10}))
      << "behind a token a space is put where none is";
}

}  // namespace
}  // namespace parkd
