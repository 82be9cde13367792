// The tokenizer of a folder that holds nothing else of a model.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/text/tokenizer_folder.h"
#include "tests/support/safetensors_writer.h"

namespace parkd::testing {

inline Result<std::shared_ptr<const Tokenizer>> opened_tokenizer(const std::string& path) {
  std::map<std::string, std::vector<uint8_t>> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().filename().string()] = {std::istreambuf_iterator<char>(file), {}};
  }
  files["config.json"] = {'{', '}'};
  SafetensorsWriter weights;
  weights.add("w", "F32", std::vector<int64_t>{1}, std::vector<uint8_t>(4));
  files["model.safetensors"] = weights.bytes();
  PARKD_ASSIGN_OR_RETURN(const auto folder, ModelFolder::from_files(path, std::move(files)));
  return read_tokenizer(*folder);
}

}  // namespace parkd::testing
