// The chat templates of a directory, and the tokens that they name: chat_template.jinja with
// additional_chat_templates/tool_use.jinja beside it, or chat_template of tokenizer_config.json,
// which is a text or a list of {name, template} of which "default" and "tool_use" are taken. Pure,
// any thread.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/text/chat_template.h"
#include "lib/weights/model_folder.h"

namespace parkd {

// Nothing: the directory has none. Errors: corrupt, invalid.
Result<std::optional<TemplateSources>> read_template_sources(const ModelFolder& folder);

// Variables of a template that name special tokens, and these: ("bos_token", "<s>").
using SpecialNames = std::vector<std::pair<std::string, std::string>>;

// Those of tokenizer_config.json. Errors: corrupt, invalid.
Result<SpecialNames> read_special_names(const ModelFolder& folder);

}  // namespace parkd
