// The tokenizer and the template of the tests' tiny models (tiny_model.h), as each format has them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/gguf_writer.h"

namespace parkd::testing {

// ChatML with a default system prompt.
inline constexpr std::string_view kTinyTemplate =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a tiny model.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

// Three special tokens, the 256 bytes, and what some merges make.
struct TinyVocabulary {
  std::vector<std::string> texts = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<std::string> merges;
  size_t n_special = 3;
};

TinyVocabulary tiny_vocabulary();

// As tokenizer.json, laid out as SmolLM2's.
std::string tiny_tokenizer_json(const TinyVocabulary& vocabulary);

// With the template.
void add_tiny_vocabulary(GgufWriter& writer, const TinyVocabulary& vocabulary,
                         const std::string& pre_tokenizer);

}  // namespace parkd::testing
