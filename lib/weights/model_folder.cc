#include "lib/weights/model_folder.h"

#include <array>
#include <boost/json.hpp>
#include <filesystem>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr size_t kIndexBytesMax = size_t{32} << 20;
constexpr size_t kTextBytesMax = size_t{256} << 20;  // the largest tokenizer.json have 40 MB
constexpr size_t kFileNameBytesMax = 255;
constexpr size_t kIndexDepth = 8;  // "metadata" is anybody's

// What belongs to a model beside its weights. Those that the directory has are part of what its
// content hash stands for, even where one is not read.
constexpr std::array<std::string_view, 14> kTextFiles = {kConfigFile,
                                                         kGenerationConfigFile,
                                                         kSafetensorsIndexFile,
                                                         "tokenizer.json",
                                                         "tokenizer.model",
                                                         "tokenizer_config.json",
                                                         "tekken.json",
                                                         "vocab.json",
                                                         "merges.txt",
                                                         "added_tokens.json",
                                                         "special_tokens_map.json",
                                                         "chat_template.jinja",
                                                         "additional_chat_templates/tool_use.jinja",
                                                         "chat_template.json"};

// A file of this very directory.
bool is_shard_name(std::string_view name) {
  constexpr std::string_view kEnd = ".safetensors";
  return name.size() > kEnd.size() && name.size() <= kFileNameBytesMax &&
         name.substr(name.size() - kEnd.size()) == kEnd &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos && name.front() != '.';
}

bool has_file(const std::string& folder, std::string_view file) {
  std::error_code error;
  return fs::exists(fs::path(folder) / file, error);
}

}  // namespace

Result<std::shared_ptr<const ModelFolder>> ModelFolder::open(const std::string& path) {
  const std::shared_ptr<ModelFolder> folder(new ModelFolder(path));
  PARKD_RETURN_IF_ERROR(folder->read(
      [&path](const std::string& file) { return MappedFile::open(path + "/" + file); }));
  return std::shared_ptr<const ModelFolder>(folder);
}

Result<std::shared_ptr<const ModelFolder>> ModelFolder::from_files(
    std::string name, std::map<std::string, std::vector<uint8_t>> files) {
  const std::shared_ptr<ModelFolder> folder(new ModelFolder(std::move(name)));
  const auto open = [&](const std::string& file) -> Result<std::shared_ptr<const MappedFile>> {
    const std::string path = folder->name_ + "/" + file;
    const auto found = files.find(file);
    if (found == files.end()) return not_found(path + ": cannot be opened: there is none");
    return MappedFile::from_bytes(path, found->second);
  };
  PARKD_RETURN_IF_ERROR(folder->read(open));
  return std::shared_ptr<const ModelFolder>(folder);
}

Status ModelFolder::read(const OpenFile& open) {
  for (const std::string_view file : kTextFiles) {
    auto opened = open(std::string(file));
    if (!opened.ok() && opened.status().code() == StatusCode::not_found) continue;
    if (!opened.ok()) return opened.status();
    if ((*opened)->bytes().size() > kTextBytesMax) {
      return invalid((*opened)->error_text("is " + std::to_string((*opened)->bytes().size()) +
                                           " bytes long, the limit is " +
                                           std::to_string(kTextBytesMax)));
    }
    texts_.emplace(file, *std::move(opened));
  }
  if (!text_of(kConfigFile)) return not_found(error_text("has no config.json"));

  auto whole = open(std::string(kSafetensorsFile));
  if (whole.ok()) {
    texts_.erase(std::string(kSafetensorsIndexFile));  // transformers prefers the one file too
    PARKD_ASSIGN_OR_RETURN(auto file, SafetensorsFile::read(*std::move(whole)));
    PARKD_RETURN_IF_ERROR(add_tensors(*file));
    shards_.push_back(std::move(file));
    return {};
  }
  if (whole.status().code() != StatusCode::not_found) return whole.status();
  const auto index = texts_.find(kSafetensorsIndexFile);
  if (index == texts_.end()) {
    return not_found(error_text("has neither model.safetensors nor model.safetensors.index.json"));
  }
  return read_shards(open, *index->second);
}

Status ModelFolder::read_shards(const OpenFile& open, const MappedFile& index) {
  const std::string_view text = index.text();
  if (text.size() > kIndexBytesMax) {
    return invalid(index.error_text("is " + std::to_string(text.size()) +
                                    " bytes long, the limit is " + std::to_string(kIndexBytesMax)));
  }
  JsonMemory memory(text.size());
  PARKD_ASSIGN_OR_RETURN(const json::value value,
                         read_json(text, index.error_text("it"), kIndexDepth, memory));
  const json::object* object = value.if_object();
  const json::value* map = object == nullptr ? nullptr : object->if_contains("weight_map");
  if (map == nullptr || !map->is_object() || map->get_object().empty()) {
    return corrupt(index.error_text("has no \"weight_map\", an object of tensors and files"));
  }
  std::map<std::string, size_t> n_tensors;  // of each shard
  for (const auto& entry : map->get_object()) {
    if (!entry.value().is_string() || !is_shard_name(entry.value().get_string())) {
      return corrupt(index.error_text(
          "tensor " + json_string(shown_name(entry.key())) + " is in " + shown_json(entry.value()) +
          ", which must be the name of a .safetensors file of the same directory"));
    }
    ++n_tensors[std::string(entry.value().get_string())];
  }
  if (n_tensors.size() > kShardsMax) {
    return corrupt(index.error_text("names " + std::to_string(n_tensors.size()) +
                                    " files, the limit is " + std::to_string(kShardsMax)));
  }
  for (const auto& [name, n] : n_tensors) {
    auto opened = open(name);
    if (!opened.ok() && opened.status().code() == StatusCode::not_found) {
      return not_found(index.error_text("names " + name +
                                        ", which is not there; fetch the model's "
                                        "other files"));
    }
    if (!opened.ok()) return opened.status();
    PARKD_ASSIGN_OR_RETURN(auto shard, SafetensorsFile::read(*std::move(opened)));
    const auto check = [&, &file = name](std::string_view tensor) -> Status {
      const json::value* where = map->get_object().if_contains(tensor);
      if (where != nullptr && std::string_view(where->get_string()) == file) return {};
      return corrupt(index.error_text(
          "tensor " + json_string(shown_name(tensor)) + " of " + file + " is " +
          (where == nullptr ? "not in it" : "in " + shown_json(*where) + " by it")));
    };
    for (const TensorView& view : shard->tensors()) PARKD_RETURN_IF_ERROR(check(view.name));
    for (const UnreadTensor& each : shard->unread_tensors()) {
      PARKD_RETURN_IF_ERROR(check(each.name));
    }
    for (const Float8Tensor& each : shard->float8_tensors()) {
      PARKD_RETURN_IF_ERROR(check(each.name));
    }
    const size_t found =
        shard->tensors().size() + shard->unread_tensors().size() + shard->float8_tensors().size();
    if (found != n) {
      return corrupt(index.error_text("has " + std::to_string(n) + " tensors in " + name +
                                      ", where " + std::to_string(found) + " of them are"));
    }
    PARKD_RETURN_IF_ERROR(add_tensors(*shard));
    shards_.push_back(std::move(shard));
  }
  return {};
}

// A name is in one shard alone: the index has it once.
Status ModelFolder::add_tensors(const SafetensorsFile& shard) {
  for (const TensorView& view : shard.tensors()) {
    tensor_index_.emplace(view.name, tensors_.size());
    tensors_.push_back(view);
  }
  for (const UnreadTensor& each : shard.unread_tensors()) unread_.push_back(each);
  for (const Float8Tensor& each : shard.float8_tensors()) float8_.push_back(each);
  if (tensors_.size() + unread_.size() + float8_.size() > kSafetensorsTensorsMax) {
    return corrupt(
        error_text("has more than " + std::to_string(kSafetensorsTensorsMax) + " tensors"));
  }
  return {};
}

std::optional<std::string_view> ModelFolder::text_of(std::string_view file) const {
  const auto found = texts_.find(file);
  if (found == texts_.end()) return std::nullopt;
  return found->second->text();
}

std::string ModelFolder::error_text_of(std::string_view file, std::string_view what) const {
  return name_ + "/" + std::string(file) + ": " + std::string(what);
}

const TensorView* ModelFolder::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

std::vector<std::span<const uint8_t>> ModelFolder::contents() const {
  std::vector<std::span<const uint8_t>> spans;
  for (const auto& [name, file] : texts_) spans.push_back(file->bytes());
  for (const auto& shard : shards_) spans.push_back(shard->bytes());
  return spans;
}

std::vector<std::span<const uint8_t>> ModelFolder::headers() const {
  std::vector<std::span<const uint8_t>> spans;
  for (const auto& [name, file] : texts_) spans.push_back(file->bytes());
  for (const auto& shard : shards_) spans.push_back(shard->header());
  return spans;
}

bool is_model_folder(const std::string& path) {
  return has_file(path, kConfigFile) &&
         (has_file(path, kSafetensorsFile) || has_file(path, kSafetensorsIndexFile));
}

std::string what_else_is_in(const std::string& path) {
  if (has_file(path, "params.json") || has_file(path, "consolidated.safetensors")) {
    return "Mistral's own files (params.json, consolidated.safetensors), which are not read: fetch "
           "config.json and model.safetensors of the same repository";
  }
  if (has_file(path, "adapter_config.json")) {
    return "an adapter (adapter_config.json), which is not supported: merge it into its model";
  }
  if (has_file(path, "pytorch_model.bin") || has_file(path, "pytorch_model.bin.index.json")) {
    return "pickled weights (pytorch_model.bin), which are not read: convert them to safetensors";
  }
  if (has_file(path, kConfigFile)) return "config.json without its model.safetensors";
  return "";
}

}  // namespace parkd
