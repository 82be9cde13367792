// The tokenizer of a model directory, laid out as on Hugging Face's hub.
#pragma once

#include <memory>

#include "lib/base/status.h"
#include "lib/text/tokenizer.h"
#include "lib/weights/model_folder.h"

namespace parkd {

// Of tokenizer.json, else tekken.json, else tokenizer.model, and tokenizer_config.json where it
// stands beside, as they were when the directory was opened. Errors: not_found when it has none of
// the three, corrupt or invalid as the readers say, each beginning with the file's path.
Result<std::shared_ptr<const Tokenizer>> read_tokenizer(const ModelFolder& folder);

}  // namespace parkd
