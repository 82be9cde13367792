// The head of the tests' GGUF models: all keys, with tokenizer and template, and the tensors that
// belong to the rope.
#pragma once

#include <string>

#include "tests/support/gguf_writer.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_tokenizer.h"

namespace parkd::testing {

void add_tiny_head(GgufWriter& writer, const TinyModelOptions& options,
                   const TinyVocabulary& vocabulary);

// A tensor's name in a GGUF file, of a weight's (tiny_weights.h).
std::string gguf_name(const std::string& weight);

}  // namespace parkd::testing
