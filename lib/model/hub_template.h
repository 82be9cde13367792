// The chat template of a directory, and the tokens that it names: chat_template.jinja, or
// chat_template of tokenizer_config.json, which is a text or a list of {name, template} of which
// "default" is taken. Pure, any thread.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/weights/model_folder.h"

namespace parkd {

// Its Jinja source; nothing: the directory has none. Errors: corrupt, invalid.
Result<std::optional<std::string>> read_template_source(const ModelFolder& folder);

// Variables of a template that name special tokens, and these: ("bos_token", "<s>").
using SpecialNames = std::vector<std::pair<std::string, std::string>>;

// Those of tokenizer_config.json. Errors: corrupt, invalid.
Result<SpecialNames> read_special_names(const ModelFolder& folder);

}  // namespace parkd
