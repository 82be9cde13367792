// A decoder's numbers out of a directory's config.json, as Hugging Face's transformers writes and
// reads it: what is left out has the value that the model's class there gives it. Of a model with
// other parts (text_config) the text's are read. Pure functions over one directory, any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/sampling.h"
#include "lib/base/status.h"
#include "lib/model/decoder_numbers.h"
#include "lib/weights/float8.h"
#include "lib/weights/model_folder.h"

namespace parkd {

struct HubConfig {
  std::string model_type;  // of the decoder: "llama"
  bool has_other_parts = false;
  DecoderNumbers numbers;
  std::optional<Float8Blocks> float8;  // quantization_config of the method fp8
  // tie_word_embeddings, where it is said of the text, and where of the whole.
  std::optional<bool> tied;
  std::optional<bool> tied_of_whole;
  // eos_token_id of generation_config.json and config.json together; ascending.
  std::vector<TokenId> end_tokens;
};

// model_type alone, so that one that is not known is refused by its name and not by a number's.
// Errors: corrupt, invalid; they name the file.
Result<std::string> read_model_type(const ModelFolder& folder);

// Errors: corrupt for what contradicts itself or is absurd, invalid for what is sound and not
// supported yet (experts, quantised weights but fp8, other activations, other scaled rope); both
// name the file, the field, its value and the limits.
Result<HubConfig> read_hub_config(const ModelFolder& folder);

}  // namespace parkd
