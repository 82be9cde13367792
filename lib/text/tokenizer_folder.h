// The tokenizer of a model directory, laid out as on Hugging Face's hub.
#pragma once

#include <memory>
#include <string>

#include "lib/base/status.h"
#include "lib/text/tokenizer.h"

namespace parkd {

// Reads tokenizer.json, else tekken.json, else tokenizer.model, and tokenizer_config.json where it
// stands beside. Blocks on file reads. Errors: not_found when the directory has none of the three,
// corrupt or invalid as the readers say, each beginning with the file's path.
Result<std::shared_ptr<const Tokenizer>> load_tokenizer_folder(const std::string& folder);

}  // namespace parkd
