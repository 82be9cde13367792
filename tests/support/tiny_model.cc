#include "tests/support/tiny_model.h"

#include <fstream>
#include <span>

namespace parkd::testing {
namespace {

Status write_file(const std::string& path, std::span<const uint8_t> bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return unavailable(path + " cannot be written");
  return {};
}

}  // namespace

Status write_tiny_model(const std::string& path, const TinyModelOptions& options) {
  return write_file(path, make_tiny_model(options));
}

Status write_files(const std::string& directory,
                   const std::map<std::string, std::vector<uint8_t>>& files) {
  for (const auto& [name, bytes] : files) {
    PARKD_RETURN_IF_ERROR(write_file(directory + "/" + name, bytes));
  }
  return {};
}

Status write_tiny_folder(const std::string& directory, const TinyModelOptions& options) {
  return write_files(directory, make_tiny_folder(options));
}

std::shared_ptr<const ModelCard> tiny_model_card(const TinyModelOptions& options) {
  return make_model_card(GgufFile::from_bytes("tiny model", make_tiny_model(options)).value())
      .value();
}

std::shared_ptr<const ModelCard> tiny_folder_card(const TinyModelOptions& options) {
  const auto gguf = tiny_model_card(options);
  return make_model_card(ModelFolder::from_files("tiny model", make_tiny_folder(options)).value(),
                         {gguf->tokenizer, gguf->chat_template})
      .value();
}

}  // namespace parkd::testing
