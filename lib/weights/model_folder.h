// ModelFolder: a model as Hugging Face lays it out in a directory: config.json, its weights as
// model.safetensors or as the shards that model.safetensors.index.json names, and what belongs to
// its tokenizer and template.
//
// Immutable after open(), any thread; shared, because views point into its mapped files. What its
// files mean is said by those who read them (lib/model, lib/text); here is checked that the shards
// are the index's, no more and no less, and that no name leads out of the directory.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/weights/mapped_file.h"
#include "lib/weights/safetensors.h"
#include "lib/weights/weights_file.h"

namespace parkd {

inline constexpr std::string_view kConfigFile = "config.json";
inline constexpr std::string_view kGenerationConfigFile = "generation_config.json";
inline constexpr std::string_view kSafetensorsFile = "model.safetensors";
inline constexpr std::string_view kSafetensorsIndexFile = "model.safetensors.index.json";
inline constexpr size_t kShardsMax = 4096;

class ModelFolder final : public WeightsFile {
 public:
  // Errors: not_found where a file is missing, corrupt and invalid as SafetensorsFile; corrupt when
  // index and shards contradict each other.
  static Result<std::shared_ptr<const ModelFolder>> open(const std::string& path);
  // The same of files in memory, by their names; `name` stands in errors where the path would.
  static Result<std::shared_ptr<const ModelFolder>> from_files(
      std::string name, std::map<std::string, std::vector<uint8_t>> files);

  // The text of config.json, and of tokenizer.json and the like where the directory has them.
  std::optional<std::string_view> text_of(std::string_view file) const;
  // "PATH/FILE: what".
  std::string error_text_of(std::string_view file, std::string_view what) const;

  std::span<const TensorView> tensors() const override { return tensors_; }
  const TensorView* find_tensor(std::string_view name) const override;
  std::span<const UnreadTensor> unread_tensors() const override { return unread_; }
  std::span<const Float8Tensor> float8_tensors() const override { return float8_; }
  const std::string& name() const override { return name_; }
  std::vector<std::span<const uint8_t>> contents() const override;
  std::vector<std::span<const uint8_t>> headers() const override;

 private:
  // A file of the directory; not_found: it has none of that name.
  using OpenFile =
      std::function<Result<std::shared_ptr<const MappedFile>>(const std::string& file)>;

  explicit ModelFolder(std::string name) : name_(std::move(name)) {}
  Status read(const OpenFile& open);
  Status read_shards(const OpenFile& open, const MappedFile& index);
  Status add_tensors(const SafetensorsFile& shard);

  const std::string name_;
  std::map<std::string, std::shared_ptr<const MappedFile>, std::less<>> texts_;
  std::vector<std::shared_ptr<const SafetensorsFile>> shards_;  // in the order of their names
  std::vector<TensorView> tensors_;
  std::vector<UnreadTensor> unread_;
  std::vector<Float8Tensor> float8_;
  std::map<std::string_view, size_t> tensor_index_;
};

// Whether `path` is a directory that open() is meant for: it has a configuration and safetensors,
// whatever is in them.
bool is_model_folder(const std::string& path);

// What a directory holds in place of a model that we read, as a person would say it; empty: nothing
// that is known.
std::string what_else_is_in(const std::string& path);

}  // namespace parkd
