#include "tests/support/hub_layouts.h"

#include <string_view>

#include "lib/base/json_writer.h"
#include "tests/support/mistral_tokenizers.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {
namespace {

constexpr std::string_view kMinistral3Template =
    R"({#- What there is where no system prompt is given. #}
{%- set default_system_message = 'Think. [THINK]Your draft.[/THINK]Your answer.' %}
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {{- '[SYSTEM_PROMPT]' + messages[0]['content'] + '[/SYSTEM_PROMPT]' }}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {{- '[SYSTEM_PROMPT]' + default_system_message + '[/SYSTEM_PROMPT]' }}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (ns.index % 2 == 0) %}
        {{- raise_exception('Users and assistants take turns.') }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
    {%- if message['role'] == 'user' %}
        {{- '[INST]' + message['content'] + '[/INST]' }}
    {%- else %}
        {{- message['content'] + eos_token }}
    {%- endif %}
{%- endfor %})";

// A system prompt stands in the last question.
constexpr std::string_view kMistral7bTemplate =
    R"({%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("Users and assistants take turns.") }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"] + eos_token }}
    {%- endif %}
{%- endfor %})";

// Layers, heads and their dimensions as the real one has them, so that a unit is as large.
TinyModelOptions real_kv(int32_t n_layers, int32_t context_tokens) {
  TinyModelOptions options;
  options.type = TensorType::bf16;
  options.n_layers = n_layers;
  options.hidden = 32;
  options.ffn = 32;
  options.n_heads = 16;
  options.n_kv_heads = 8;
  options.head_dim = 128;
  options.context_tokens = context_tokens;
  return options;
}

HubFiles with_tokenizer(TinyModelOptions options, const MistralTokenizer& tokenizer) {
  options.n_control = tokenizer.n_control;
  options.vocab = tokenizer.vocab;
  HubFiles files = make_tiny_folder(options);
  files.erase("tokenizer.json");
  files["generation_config.json"] =
      file_of(R"({"_from_model_config": true, "bos_token_id": 1, "eos_token_id": 2})");
  // Mistral's own form of the same, and what is for people.
  files["params.json"] = file_of(R"({"dim": 4096, "n_layers": 32})");
  files["consolidated.safetensors"] = file_of("not what transformers reads");
  files["README.md"] = file_of("# A model\n");
  files[".gitattributes"] = file_of("*.safetensors filter=lfs\n");
  return files;
}

}  // namespace

std::vector<uint8_t> file_of(const std::string& text) {
  return {text.begin(), text.end()};
}

HubFiles ministral3_repository() {
  const MistralTokenizer tokenizer = tekken_tokenizer();
  TinyModelOptions options = real_kv(26, 262144);
  options.architecture = "ministral3";
  options.tied = true;
  options.text_prefix = "language_model.model.";
  options.n_shards = 2;
  HubFiles files = with_tokenizer(options, tokenizer);
  files["tekken.json"] = file_of(tokenizer.tekken_json);
  files["chat_template.jinja"] = file_of(std::string(kMinistral3Template));
  JsonWriter config;
  config.begin_object().member("bos_token", "<s>").member("eos_token", "</s>");
  config.member("tokenizer_class", "TokenizersBackend").end_object();
  files["tokenizer_config.json"] = file_of(config.take());
  files["processor_config.json"] = file_of(R"({"processor_class": "PixtralProcessor"})");
  files["SYSTEM_PROMPT.txt"] = file_of("Think.");
  return files;
}

HubFiles mistral7b_repository() {
  const MistralTokenizer tokenizer = sentencepiece_tokenizer();
  TinyModelOptions options = real_kv(32, 32768);
  options.architecture = "mistral";
  options.n_shards = 3;
  HubFiles files = with_tokenizer(options, tokenizer);
  files["tokenizer.json"] = file_of(tokenizer.tokenizer_json);
  files["tokenizer.model"] = file_of(tokenizer.tokenizer_model);
  files["tokenizer.model.v3"] = files["tokenizer.model"];
  JsonWriter config;
  config.begin_object().member("add_bos_token", true).member("add_eos_token", false);
  config.begin_object("added_tokens_decoder");
  constexpr std::string_view kNames[] = {"<unk>", "<s>", "</s>", "[INST]", "[/INST]"};
  for (size_t id = 0; id < std::size(kNames); ++id) {
    config.begin_object(std::to_string(id)).member("content", kNames[id]);
    config.member("lstrip", false).member("normalized", false).member("rstrip", false);
    config.member("single_word", false).member("special", true).end_object();
  }
  config.end_object().member("bos_token", "<s>").member("eos_token", "</s>");
  config.member("chat_template", kMistral7bTemplate).member("legacy", false);
  config.member("tokenizer_class", "LlamaTokenizer").member("unk_token", "<unk>").end_object();
  files["tokenizer_config.json"] = file_of(config.take());
  files["special_tokens_map.json"] =
      file_of(R"({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})");
  return files;
}

}  // namespace parkd::testing
