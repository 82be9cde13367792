// The golden files of tests/golden: unicode_classes.json, as written by
// tools/golden/unicode_classes.py; formats.json, as written by tools/golden/formats.py;
// families.json, as written by tools/golden/families.py; those of smollm2-135m, as written by
// tools/golden/reference.py, and the model these were made of.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/openai/chat_request.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {

struct GoldenPrompt {
  std::string name;
  std::vector<ChatMessage> messages;
  std::string rendered;            // the chat template's output
  std::vector<TokenId> prompt;     // its ids
  std::vector<TokenId> generated;  // 64 greedy tokens; goes on past an end token
  size_t ends_at = 0;              // index of the first end token in `generated`, or its size
  std::string text;                // of generated[0, ends_at)
  // For each of `generated`, of the distribution it was taken from (float64):
  std::vector<std::vector<TokenLogprob>> top;  // the five best, best first
  std::vector<float> gap;                      // nat between the best and the second
};

struct GoldenString {
  std::string text;
  std::vector<TokenId> ids;  // special tokens in it read as text
};

// What transformers makes of a tiny random model, as written by tools/golden/families.py.
struct GoldenFamily {
  std::string name;
  TinyModelOptions model;
  std::string fnv1a64;          // of the GGUF file's bytes
  std::string config;           // config.json as transformers writes it
  std::vector<TokenId> tokens;  // the prompt, then greedy ones
  size_t prompt_tokens = 0;
  std::vector<std::vector<TokenLogprob>> logits;  // after each token: the best first, then others
  double tolerance = 0;                           // of a logit
};

// What the package gguf makes of generated blocks of a type, as written by tools/golden/formats.py.
struct GoldenFormat {
  size_t bytes = 0;
  size_t elements = 0;
  std::string fnv1a64;             // of the floats' bytes
  std::vector<std::string> first;  // floats as hexadecimal bits
};

// Ranges of code points, first and last; what they mean stands in tools/golden/unicode_classes.py.
struct GoldenClasses {
  using Ranges = std::vector<std::pair<uint32_t, uint32_t>>;
  Ranges letters;
  Ranges numbers;
  Ranges digits;
};

GoldenClasses load_golden_classes();
std::map<std::string, GoldenFormat> load_golden_formats();  // by the type's name
std::vector<GoldenFamily> load_golden_families();
std::vector<GoldenPrompt> load_golden_prompts();
std::vector<GoldenString> load_golden_strings();

// PARKD_TEST_MODEL; empty when it is not set. Checks that a file that is there is the goldens' one.
std::string golden_model_path();

// For tests that cannot run without the model:
//   if (golden_model_path().empty()) PARKD_SKIP_WITHOUT_MODEL();
// Skips loudly, or fails where PARKD_CI_STRICT=1 says that the model ought to be there.
bool golden_model_is_required();

}  // namespace parkd::testing

#define PARKD_SKIP_WITHOUT_MODEL()                                          \
  do {                                                                      \
    if (::parkd::testing::golden_model_is_required()) {                     \
      FAIL() << "PARKD_TEST_MODEL is not set and PARKD_CI_STRICT=1";        \
    }                                                                       \
    GTEST_SKIP() << "SKIPPED LOUDLY: PARKD_TEST_MODEL names no model file"; \
  } while (false)
