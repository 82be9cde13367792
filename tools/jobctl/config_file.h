// A model's stanza in a parkd configuration, put there without touching anything else.
#pragma once

#include <string>

#include "lib/base/status.h"

namespace parkd::jobctl {

struct NewModel {
  std::string name;
  std::string local_path;  // absolute; empty: hf_id is set
  std::string hf_id;
  std::string dtype;
};

// "  - name: ..." and what follows, with `indent` spaces before the dash.
std::string model_stanza(const NewModel& model, size_t indent = 2);

// Whether parkd would read it. Errors: invalid, naming the key.
Status check_stanza(const std::string& stanza);

// The configuration `text` with the model at the end of its `models:` list; every other byte stays.
// Errors: conflict, when the list has that name; invalid, when the text is not a configuration or
// its list is not written as a block.
Result<std::string> with_model(const std::string& text, const std::string& file_name,
                               const NewModel& model);

// The same of a file's text.
Result<std::string> file_with_model(const std::string& path, const NewModel& model);

// Replaces the file whole or not at all; owner and permissions stay.
Status replace_file(const std::string& path, const std::string& text);

}  // namespace parkd::jobctl
