// The chat template of a directory: chat_template.jinja, or chat_template of tokenizer_config.json,
// which is a text or a list of {name, template} of which "default" is taken. Pure, any thread.
#pragma once

#include <optional>
#include <string>

#include "lib/base/status.h"
#include "lib/weights/model_folder.h"

namespace parkd {

// Its Jinja source; nothing: the directory has none. Errors: corrupt, invalid.
Result<std::optional<std::string>> read_template_source(const ModelFolder& folder);

}  // namespace parkd
