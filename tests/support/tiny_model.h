// A model with random weights of any family (lib/model/family.h), drawn from a seed, of well under
// 1 MB: every layer of the daemon runs end to end on it in milliseconds. Its tokenizer has all 256
// bytes, some merges and ChatML's special tokens; its template is ChatML with a default system
// prompt. It says nothing sensible, and practically never ends a turn by itself: it runs to
// max_tokens.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/model_card.h"

namespace parkd::testing {

struct TinyModelOptions {
  // One of tiny_family_names(); GGUF files call mistral llama, and ministral3 mistral3.
  std::string architecture = "llama";
  std::string pre_tokenizer = "smollm";  // tokenizer.ggml.pre
  uint64_t seed = 1;
  TensorType type = TensorType::f32;  // of the matrices; norms stay F32
  bool tied = false;                  // the embedding is the head too
  int32_t n_layers = 2;
  int32_t hidden = 64;  // it and ffn and n_heads * head_dim: multiples of 32, and of type's blocks
  int32_t ffn = 96;
  int32_t n_heads = 4;
  int32_t n_kv_heads = 2;
  int32_t head_dim = 16;
  int32_t context_tokens = 2048;
  // "", or "llama3": the frequencies slowed down by 8 from an original context of 32 on; or "yarn":
  // by 16 from one of 16 on, which ministral3 always has; or "linear": by 8 everywhere; or of phi3
  // "longrope": the longer divisors where context_tokens is more than original_context.
  std::string rope_scaling;
  int32_t original_context = 16;
  int32_t n_turned = 0;  // of phi3: of a head's numbers the first so many turn; 0: all
  // Of a directory of mistral, qwen2 or qwen3: the tokens that a layer sees, from the layer of that
  // index on; 0: all. GGUF files of these say no window.
  int32_t window = 0;
  int32_t first_windowed = 0;  // 0 for mistral
  // Of gemma3_text and phi3 the window is in GGUF files too, of phi3 on all layers. Of gemma3_text:
  // each so many layers the last has none; 0: 6, unsaid. And what its scores are divided by the
  // root of, in a directory; 0: head_dim.
  int32_t window_period = 0;
  int32_t query_divisor = 0;
  // Of a directory that has a vision tower too: what stands before its text's tensors, as
  // "language_model.model."; empty: a model of text alone.
  std::string text_prefix;
  size_t n_shards = 1;  // of a directory's safetensors
  // Of a directory that gets another tokenizer: its tokens, and those of them that are control
  // tokens, before the bytes. 0: those of the tiny tokenizer.
  int32_t vocab = 0;
  int32_t n_control = 0;
};

// The whole GGUF file. The same options give the same bytes on every machine.
std::vector<uint8_t> make_tiny_model(const TinyModelOptions& options);

// The families that can be made, by model_type.
std::vector<std::string> tiny_family_names();

Status write_tiny_model(const std::string& path, const TinyModelOptions& options);

// The same model, the same weights, as the files of a Hugging Face directory: config.json,
// generation_config.json, tokenizer.json, tokenizer_config.json with the template, and safetensors,
// whose q and k are in transformers' order. Requires a type that safetensors have.
std::map<std::string, std::vector<uint8_t>> make_tiny_folder(const TinyModelOptions& options);

// Into a directory that is there.
Status write_files(const std::string& directory,
                   const std::map<std::string, std::vector<uint8_t>>& files);
Status write_tiny_folder(const std::string& directory, const TinyModelOptions& options);

// Its card, with the tokenizer and template of the GGUF file.
std::shared_ptr<const ModelCard> tiny_folder_card(const TinyModelOptions& options);

// The card of a tiny model in memory.
std::shared_ptr<const ModelCard> tiny_model_card(const TinyModelOptions& options = {});

}  // namespace parkd::testing
