// ModelCard: what is known of a model from its files, without loading a weight: its shape, its
// tokenizer and template, and where its tensors lie. Takes milliseconds to tens of milliseconds;
// the weights are only mapped.
//
// Immutable and shared (shared_ptr<const ModelCard>), any thread. Holds the files' mapping, so its
// TensorViews live as long as the card does.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/model_defaults.h"
#include "lib/model/model_tensors.h"
#include "lib/model/shape.h"
#include "lib/text/chat_template.h"
#include "lib/text/tokenizer.h"
#include "lib/weights/gguf.h"
#include "lib/weights/model_folder.h"
#include "lib/weights/weights_file.h"

namespace parkd {

struct ModelCard {
  std::string path;          // of the file or directory
  std::string name;          // general.name, or the architecture when the file has none; or the
                             // directory's
  std::string architecture;  // its family's: "llama"
  std::string weight_types;  // "Q4_1 x210, F32 x61, Q8_0 x1"
  int64_t n_parameters = 0;
  int64_t weight_bytes = 0;
  // 16 hexadecimal digits of FNV-1a over the files' size, their headers and up to 4 KiB at the
  // start, middle and end of each tensor. Tells files apart in logs and results; it reads a sample,
  // so it does not notice every changed byte, and is not proof against an adversary.
  std::string fingerprint;
  std::string left_out;  // of the model's parts, for people: "all but the text model"

  ModelShape shape;
  ModelTensors tensors;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;  // a base model has none
  std::vector<TokenId> end_tokens;  // the tokenizer's and generation_config.json's; ascending
  ModelDefaults defaults{};

  std::shared_ptr<const WeightsFile> weights;  // keeps the mapping alive
};

// Whether the files behind it are others than when it was read, as far as its fingerprint tells:
// they were written over in their place. (Files that were replaced are still mapped as they were.)
// Takes milliseconds.
bool was_written_over(const ModelCard& card);

// What a directory's model says and hears, read by others (lib/text).
struct ModelText {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
};

// Reads and checks the model at `path`. Errors: not_found, corrupt, or invalid when the file is
// sound and needs something not supported yet ("architecture \"gptj\" is not supported yet
// (llama, mistral, qwen3 are)").
Result<std::shared_ptr<const ModelCard>> load_model_card(const std::string& path);
// The same of an open file, and of an open directory.
Result<std::shared_ptr<const ModelCard>> make_model_card(std::shared_ptr<const GgufFile> file);
Result<std::shared_ptr<const ModelCard>> make_model_card(std::shared_ptr<const ModelFolder> folder,
                                                         ModelText text);

}  // namespace parkd
