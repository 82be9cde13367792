// Cards of Hugging Face directories: what is read out of config.json, and what is refused of it.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lib/model/content_hash.h"
#include "lib/model/hub_template.h"
#include "lib/model/model_card.h"
#include "lib/text/tokenizer_folder.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

using Files = std::map<std::string, std::vector<uint8_t>>;
using testing::make_tiny_folder;
using testing::TinyModelOptions;

std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}
std::vector<uint8_t> bytes_of(std::string_view text) {
  return {text.begin(), text.end()};
}

Result<std::shared_ptr<const ModelCard>> card_of(const Files& files) {
  const auto text = testing::tiny_model_card();
  PARKD_ASSIGN_OR_RETURN(auto folder, ModelFolder::from_files("m", files));
  return make_model_card(std::move(folder), {text->tokenizer, text->chat_template});
}

// A tiny directory with `from` in its config.json replaced by `to`.
Files with_config(const std::string& from, const std::string& to,
                  const TinyModelOptions& options = {}) {
  Files files = make_tiny_folder(options);
  std::string config = text_of(files["config.json"]);
  const size_t at = config.find(from);
  EXPECT_NE(at, std::string::npos) << from << " in " << config;
  files["config.json"] = bytes_of(config.replace(at, from.size(), to));
  return files;
}

// With more members at its end.
Files with_members(const std::string& members, const TinyModelOptions& options = {}) {
  Files files = make_tiny_folder(options);
  std::string config = text_of(files["config.json"]);
  config.back() = ',';
  files["config.json"] = bytes_of(config + members + "}");
  return files;
}

void expect_refusal(const Files& files, StatusCode code, const std::string& text) {
  const auto card = card_of(files);
  ASSERT_FALSE(card.ok()) << text;
  EXPECT_EQ(card.status().code(), code) << card.status().message();
  EXPECT_EQ(card.status().message().rfind("m", 0), 0U) << card.status().message();
  EXPECT_NE(card.status().message().find(text), std::string::npos) << card.status().message();
}

TinyModelOptions options_of(const std::string& architecture) {
  TinyModelOptions options;
  options.architecture = architecture;
  return options;
}

TEST(HubModel, a_directory_has_the_shape_and_tensors_of_its_gguf_file) {
  for (const char* architecture : {"llama", "mistral", "ministral3", "qwen2", "qwen3", "phi3"}) {
    TinyModelOptions options = options_of(architecture);
    options.head_dim = 24;
    options.type = TensorType::bf16;
    const auto gguf = testing::tiny_model_card(options);
    const auto folder = card_of(make_tiny_folder(options)).value();
    EXPECT_EQ(folder->architecture, architecture);
    EXPECT_EQ(folder->n_parameters, gguf->n_parameters);
    EXPECT_EQ(folder->weight_bytes, gguf->weight_bytes);
    EXPECT_EQ(folder->weight_types, gguf->weight_types);
    EXPECT_EQ(folder->shape.head_dim, 24);
    EXPECT_EQ(folder->shape.vocab, gguf->shape.vocab);
    EXPECT_EQ(folder->shape.context_tokens, gguf->shape.context_tokens);
    EXPECT_EQ(folder->shape.rms_eps, gguf->shape.rms_eps);
    EXPECT_EQ(folder->shape.ropes[0].layout, gguf->shape.ropes[0].layout);
    EXPECT_EQ(folder->shape.ropes[0].inv_freq, gguf->shape.ropes[0].inv_freq);
    EXPECT_EQ(folder->shape.layers[1].attention_scale, gguf->shape.layers[1].attention_scale);
    EXPECT_TRUE(folder->tensors.head.has_value());
  }
}

TEST(HubModel, a_written_directory_is_loaded_with_its_tokenizer_and_template) {
  const TempDir directory;
  ASSERT_TRUE(testing::write_tiny_folder(directory.path(), {}).ok());
  const auto card = load_model_card(directory.path());
  ASSERT_TRUE(card.ok()) << card.status().message();
  const auto gguf = testing::tiny_model_card();
  EXPECT_EQ((*card)->path, directory.path());
  EXPECT_EQ((*card)->tokenizer->vocab_size(), gguf->tokenizer->vocab_size());
  const std::vector<ChatMessage> messages = {{"user", "the user's 12 stations <|im_end|> \u00e4"}};
  const auto prompt = (*card)->chat_template->render(messages, {});
  ASSERT_TRUE(prompt.ok()) << prompt.status().message();
  const auto ids = (*card)->tokenizer->encode_prompt(*prompt);
  EXPECT_EQ(
      ids.value(),
      gguf->tokenizer->encode_prompt(gguf->chat_template->render(messages, {}).value()).value());
  EXPECT_EQ((*card)->end_tokens, gguf->end_tokens);

  std::filesystem::remove(directory.path() + "/tokenizer_config.json");
  const auto base = load_model_card(directory.path());
  ASSERT_TRUE(base.ok()) << base.status().message();
  EXPECT_FALSE((*base)->chat_template.has_value()) << "a base model";
}

TEST(HubModel, a_tokenizer_is_the_one_that_was_opened_with_the_weights) {
  const TempDir directory;
  ASSERT_TRUE(testing::write_tiny_folder(directory.path(), {}).ok());
  const auto folder = ModelFolder::open(directory.path()).value();
  // As a client does it that fetches another revision.
  std::filesystem::remove(directory.path() + "/tokenizer.json");
  const auto tokenizer = read_tokenizer(*folder);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_EQ((*tokenizer)->vocab_size(), 297);
}

TEST(HubModel, end_tokens_are_the_tokenizers_and_the_configurations) {
  Files files = make_tiny_folder({});
  files["generation_config.json"] = bytes_of(R"({"eos_token_id": [7, 9, 7]})");
  const auto card = card_of(files).value();
  const auto gguf = testing::tiny_model_card();
  const auto ends = gguf->tokenizer->end_tokens();
  std::vector<TokenId> wanted(ends.begin(), ends.end());
  wanted.insert(wanted.end(), {7, 9});
  EXPECT_EQ(card->end_tokens, wanted);
  files["generation_config.json"] = bytes_of(R"({"eos_token_id": ["a"]})");
  expect_refusal(files, StatusCode::corrupt, "eos_token_id has \"a\", which is not a token");
}

TEST(HubModel, the_text_of_a_model_with_other_parts_is_read) {
  TinyModelOptions options = options_of("mistral");
  options.tied = true;
  for (const char* flag : {R"("tie_word_embeddings":false,)", ""}) {
    Files files = make_tiny_folder(options);
    const std::string text = text_of(files["config.json"]);
    files["config.json"] = bytes_of(R"({"model_type":"mistral3",)" + std::string(flag) +
                                    R"("vision_config":{},"text_config":)" + text + "}");
    const auto card = card_of(files);
    ASSERT_TRUE(card.ok()) << card.status().message();
    EXPECT_EQ((*card)->architecture, "mistral");
    EXPECT_EQ((*card)->left_out, "all but the text model");
    EXPECT_FALSE((*card)->tensors.head.has_value()) << "the text's own flag counts";
  }
}

TEST(HubModel, a_head_that_is_missing_is_not_taken_for_tied) {
  TinyModelOptions options;
  options.tied = true;
  expect_refusal(
      with_config(R"("tie_word_embeddings":true)", R"("tie_word_embeddings":false)", options),
      StatusCode::corrupt, "has no lm_head.weight, and tie_word_embeddings");
}

TEST(HubModel, what_is_not_supported_is_refused_by_name) {
  const auto refused = [](const Files& files, const std::string& text) {
    expect_refusal(files, StatusCode::invalid, text);
  };
  refused(with_config(R"("model_type":"llama")", R"("model_type":"gptj")"),
          "config.json: model_type \"gptj\" is not supported yet (llama, mistral, ministral3, "
          "qwen2, qwen3, smollm3, gemma3_text, phi3 are)");
  refused(with_members(R"("num_local_experts":8)"), "num_local_experts (a mixture of experts)");
  refused(with_members(R"("quantization_config":{"quant_method":"awq"})"),
          "quantization_config.quant_method \"awq\" is not supported (\"fp8\" is)");
  refused(with_members(R"("attention_bias":true)"), "attention_bias is not supported yet");
  refused(with_members(R"("mlp_bias":true)"), "mlp_bias is not supported yet");
  refused(with_members(R"("partial_rotary_factor":0.5)"), "partial_rotary_factor other than 1");
  refused(with_members(R"("layer_types":["full_attention","sliding_attention"])"),
          "layer_types has \"sliding_attention\": only full_attention is supported yet");
  refused(with_config(R"("hidden_act":"silu")", R"("hidden_act":"gelu")"),
          "hidden_act \"gelu\" is not supported yet");
  refused(with_members(R"("rope_scaling":{"rope_type":"longrope","factor":2})"),
          "rope_scaling.rope_type \"longrope\" is not supported yet");
  refused(with_members(R"("rope_parameters":{"full_attention":{"rope_type":"default"}})"),
          "rope_parameters.full_attention (a rope of some layers)");
}

TEST(HubModel, scales_that_other_families_have_are_refused_by_name) {
  for (const char* name :
       {"attention_multiplier", "query_pre_attn_scalar", "attn_logit_softcapping",
        "final_logit_softcapping", "residual_multiplier", "embedding_multiplier", "logits_scaling",
        "logit_scale"}) {
    const std::string field = "\"" + std::string(name) + "\":";
    EXPECT_TRUE(card_of(with_members(field + "null")).ok()) << name;
    expect_refusal(with_members(field + "0.5"), StatusCode::invalid,
                   "m/config.json: " + std::string(name) + " 5E-1 is not supported yet");
  }
}

TEST(HubModel, two_ropes_that_differ_are_refused) {
  const std::string linear = R"({"rope_type":"linear","factor":2})";
  const auto both = [&](const std::string& other) {
    return with_members(R"("rope_parameters":)" + linear + R"(,"rope_scaling":)" + other);
  };
  EXPECT_TRUE(card_of(both(linear)).ok());
  EXPECT_TRUE(card_of(both("null")).ok());
  expect_refusal(both(R"({"rope_type":"linear","factor":4})"), StatusCode::corrupt,
                 "rope_parameters and rope_scaling differ");
}

std::vector<int32_t> windows_of(const Files& files) {
  const auto card = card_of(files);
  EXPECT_TRUE(card.ok()) << card.status().message();
  std::vector<int32_t> windows;
  if (card.ok()) {
    for (const LayerPlan& plan : (*card)->shape.layers) windows.push_back(plan.window);
  }
  return windows;
}

TEST(HubModel, mistrals_window_is_of_all_layers) {
  using Windows = std::vector<int32_t>;
  const std::string null = R"("sliding_window":null)";
  TinyModelOptions options = options_of("mistral");
  EXPECT_EQ(windows_of(make_tiny_folder(options)), (Windows{0, 0}));
  options.window = 1024;
  EXPECT_EQ(windows_of(make_tiny_folder(options)), (Windows{1024, 1024}));
  EXPECT_EQ(windows_of(with_members(R"("use_sliding_window":false)", options)),
            (Windows{1024, 1024}))
      << "a switch that its class does not have";
  options.window = 2048;
  EXPECT_EQ(windows_of(make_tiny_folder(options)), (Windows{0, 0})) << "the context's 2048";
  TinyModelOptions longer = options_of("mistral");
  longer.context_tokens = 8192;
  EXPECT_EQ(windows_of(with_config("," + null, "", longer)), (Windows{4096, 4096}))
      << "the class's, where it is left out";
  options.window = 1024;
  expect_refusal(with_members(R"("layer_types":["full_attention","full_attention"])", options),
                 StatusCode::invalid, "layer_types beside a sliding_window of all layers, 1024");
  expect_refusal(with_config(null, R"("sliding_window":1024)"), StatusCode::invalid,
                 "sliding_window 1024 is not supported for llama");
}

TEST(HubModel, qwens_windows_are_of_the_layers_that_are_named_and_off_unless_switched_on) {
  using Windows = std::vector<int32_t>;
  const std::string null = R"("sliding_window":null)";
  const std::string window = R"("sliding_window":1024)";
  for (const char* architecture : {"qwen2", "qwen3"}) {
    TinyModelOptions options = options_of(architecture);
    EXPECT_EQ(windows_of(with_config(null, window, options)), (Windows{0, 0})) << "switched off";
    const std::string on = window + R"(,"use_sliding_window":true)";
    EXPECT_EQ(windows_of(with_config(null, on, options)), (Windows{0, 0}))
        << "max_window_layers is 28 where it is left out";
    EXPECT_EQ(windows_of(with_config(null,
                                     on + R"(,"layer_types":["sliding_attention",)"
                                          R"("full_attention"],"max_window_layers":9)",
                                     options)),
              (Windows{1024, 0}));
    options.window = 1024;
    EXPECT_EQ(windows_of(make_tiny_folder(options)), (Windows{1024, 1024}));
    options.first_windowed = 1;
    EXPECT_EQ(windows_of(make_tiny_folder(options)), (Windows{0, 1024}));
    options.window = 2048;
    EXPECT_EQ(windows_of(make_tiny_folder(options)), (Windows{0, 0})) << "sees all there can be";
    options.window = 0;
    expect_refusal(with_members(R"("layer_types":["full_attention","sliding_attention"])", options),
                   StatusCode::corrupt,
                   "layer_types has sliding_attention where sliding_window is null");
    expect_refusal(
        with_config(null, window + R"(,"layer_types":["full_attention","sliding_attention"])",
                    options),
        StatusCode::corrupt,
        "layer_types has sliding_attention where use_sliding_window is not true");
    expect_refusal(with_members(R"("layer_types":["full_attention"])", options),
                   StatusCode::corrupt, "layer_types has 1 entries where num_hidden_layers is 2");
    expect_refusal(with_members(R"("layer_types":["full_attention","chunked_attention"])", options),
                   StatusCode::invalid, "layer_types has \"chunked_attention\": only");
  }
}

TEST(HubModel, what_is_left_out_is_the_classs) {
  const std::string head_dim = R"(,"head_dim":128)";
  TinyModelOptions options = options_of("qwen3");
  options.head_dim = 128;
  EXPECT_EQ(card_of(with_config(head_dim, "", options)).value()->shape.head_dim, 128);
  options.architecture = "qwen2";
  options.hidden = 512;
  EXPECT_EQ(card_of(with_config(head_dim, "", options)).value()->shape.head_dim, 512 / 4);
}

TEST(HubModel, numbers_that_cannot_be_are_refused_with_their_limits) {
  const auto refused = [](const std::string& from, const std::string& to, const std::string& text) {
    expect_refusal(with_config(from, to), StatusCode::corrupt, "m/config.json: " + text);
  };
  refused(R"("num_hidden_layers":2)", R"("num_hidden_layers":0)",
          "num_hidden_layers is 0, it must be from 1 to 4096");
  refused(R"("num_hidden_layers":2)", R"("num_hidden_layers":1.5)", "num_hidden_layers is 1.5E0");
  refused(R"("num_hidden_layers":2,)", "", "num_hidden_layers is missing");
  refused(R"("hidden_size":64)", R"("hidden_size":"64")", "hidden_size is \"64\"");
  refused(R"("num_key_value_heads":2)", R"("num_key_value_heads":3)",
          "4 heads are not a multiple of 3");
  refused(R"("head_dim":16)", R"("head_dim":15)", "a head of 15");
  refused(R"("rope_theta":10000)", R"("rope_theta":0)", "rope_theta is 0");
  expect_refusal(with_config(R"("vocab_size":297)", R"("vocab_size":296)"), StatusCode::corrupt,
                 "the tokenizer has 297 tokens where config.json has vocab_size 296");
  expect_refusal(with_config(R"("hidden_size":64)", R"("hidden_size":32)"), StatusCode::corrupt,
                 "where the hyper-parameters make it");
  Files files = make_tiny_folder({});
  files["config.json"] = bytes_of("{\"model_type\":");
  expect_refusal(files, StatusCode::invalid, "config.json: it is not JSON");
  files["config.json"] = bytes_of("[]");
  expect_refusal(files, StatusCode::corrupt, "config.json: is not a JSON object");
}

TEST(HubModel, every_byte_of_a_directory_counts_in_its_hash) {
  const Files files = make_tiny_folder({});
  const std::string hash = model_content_hash(*card_of(files).value(), Dtype::bf16);
  for (const auto& [name, bytes] : files) {
    Files changed = files;
    if (name == "model.safetensors") {
      changed[name].back() = static_cast<uint8_t>(changed[name].back() ^ 1);
    } else {
      changed[name].push_back(' ');
    }
    EXPECT_NE(model_content_hash(*card_of(changed).value(), Dtype::bf16), hash) << name;
  }
}

TEST(HubModel, special_tokens_have_the_names_that_templates_use) {
  Files files = make_tiny_folder({});
  files["tokenizer_config.json"] = bytes_of(
      R"({"bos_token":"<s>","eos_token":{"content":"</s>","lstrip":false},"pad_token":null})");
  const auto read = [&files] {
    return read_special_names(*ModelFolder::from_files("m", files).value());
  };
  EXPECT_EQ(read().value(), (SpecialNames{{"bos_token", "<s>"}, {"eos_token", "</s>"}}));
  files["tokenizer_config.json"] = bytes_of(R"({"bos_token":1})");
  EXPECT_EQ(read().status().code(), StatusCode::corrupt);
}

TEST(HubModel, a_template_is_a_file_or_a_member_or_the_default_of_a_list) {
  const auto sources_of = [](const Files& files) {
    return read_template_sources(*ModelFolder::from_files("m", files).value());
  };
  const auto source_of = [&](const Files& files) { return sources_of(files)->value().text; };
  Files files = make_tiny_folder({});
  EXPECT_NE(source_of(files).find("<|im_start|>"), std::string::npos);
  files["tokenizer_config.json"] = bytes_of(
      R"({"chat_template":[{"name":"tools","template":"T"},{"name":"default","template":"D"}]})");
  EXPECT_EQ(source_of(files), "D");
  EXPECT_EQ(sources_of(files)->value().tool_use, std::nullopt);
  files["chat_template.jinja"] = bytes_of("J");
  EXPECT_EQ(source_of(files), "J");
  files.erase("chat_template.jinja");
  files["tokenizer_config.json"] = bytes_of("{}");
  EXPECT_FALSE(sources_of(files)->has_value());
  files["tokenizer_config.json"] = bytes_of(R"({"chat_template":[{"name":"a"}]})");
  EXPECT_EQ(sources_of(files).status().code(), StatusCode::corrupt);
}

TEST(HubModel, a_template_for_tools_is_of_the_list_or_a_file_beside_the_template) {
  const auto tool_use_of = [](const Files& files) {
    return read_template_sources(*ModelFolder::from_files("m", files).value())->value().tool_use;
  };
  Files files = make_tiny_folder({});
  files["tokenizer_config.json"] = bytes_of(
      R"({"chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]})");
  EXPECT_EQ(tool_use_of(files), "T");
  files["additional_chat_templates/tool_use.jinja"] = bytes_of("U");
  EXPECT_EQ(tool_use_of(files), "T") << "it is beside chat_template.jinja alone";
  files["chat_template.jinja"] = bytes_of("J");
  EXPECT_EQ(tool_use_of(files), "U");
}

}  // namespace
}  // namespace parkd
