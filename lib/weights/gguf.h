// GgufFile: a GGUF v3 model file, read through a memory map: its keys, and its tensors where they
// lie. Source: ggml, docs/gguf.md.
//
// Immutable after open(), so any thread may read it; shared, because every TensorView and
// string_view it gives points into the map and lives only as long as the file object. The bytes are
// taken as hostile: every count, length, nesting, offset and sum is checked before it is used, and
// an error names the file, the key or tensor, and the limit. It never loads, converts or copies
// weights.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/weights/mapped_file.h"
#include "lib/weights/tensor.h"
#include "lib/weights/weights_file.h"

namespace parkd {

inline constexpr uint64_t kGgufKeysMax = 1u << 16;
inline constexpr uint64_t kGgufTensorsMax = 1u << 16;
inline constexpr uint64_t kGgufNameBytesMax = 1024;  // of a key's or a tensor's name
inline constexpr uint64_t kGgufStringBytesMax = 16u << 20;
inline constexpr uint64_t kGgufArrayElementsMax = 1u << 24;
inline constexpr int kGgufArrayDepthMax = 2;  // arrays of arrays, no deeper
inline constexpr uint64_t kGgufAlignmentMax = 1u << 20;

class GgufFile final : public WeightsFile {
 public:
  // Errors: not_found when the file, or another part of it, is not there, corrupt when its bytes
  // contradict themselves or the file's size, invalid when it is sound but not supported (version,
  // tensor type). Of a model in several files (split.count) `path` must be the first; the others
  // are found by their names (gguf_split.h), and one that is another model's is corrupt.
  static Result<std::shared_ptr<const GgufFile>> open(const std::string& path);
  // The same for bytes in memory, of a model in one file; `name` stands in errors where the path
  // would.
  static Result<std::shared_ptr<const GgufFile>> from_bytes(std::string name,
                                                            std::vector<uint8_t> bytes);
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  // Keys. Errors: not_found when the key is missing, invalid when it has another type or does not
  // fit. integer() takes every integer type, number() those and the floats.
  bool has(std::string_view key) const;
  Result<int64_t> integer(std::string_view key) const;
  Result<double> number(std::string_view key) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::string_view> string(std::string_view key) const;
  Result<std::vector<int64_t>> integers(std::string_view key) const;
  Result<std::vector<bool>> flags(std::string_view key) const;
  Result<std::vector<float>> floats(std::string_view key) const;  // of f32
  Result<std::vector<std::string_view>> strings(std::string_view key) const;
  // The same with a value for a missing key; a wrong type is still an error.
  Result<int64_t> integer_or(std::string_view key, int64_t otherwise) const;
  Result<double> number_or(std::string_view key, double otherwise) const;
  Result<bool> boolean_or(std::string_view key, bool otherwise) const;
  Result<std::string_view> string_or(std::string_view key, std::string_view otherwise) const;
  // Every key, in alphabetical order.
  std::vector<std::string_view> keys() const;

  std::span<const TensorView> tensors() const override { return tensors_; }
  const TensorView* find_tensor(std::string_view name) const override;
  // None: a file with a type that we do not read is refused.
  std::span<const UnreadTensor> unread_tensors() const override { return {}; }
  std::span<const Float8Tensor> float8_tensors() const override { return {}; }

  const std::string& name() const override { return file_->name(); }
  std::span<const uint8_t> bytes() const { return file_->bytes(); }  // of the first part
  // Everything before the tensors' data: keys, vocabulary, tensor table.
  std::span<const uint8_t> header() const { return bytes().first(header_bytes_); }
  std::vector<std::span<const uint8_t>> contents() const override;
  std::vector<std::span<const uint8_t>> headers() const override;

 private:
  friend class GgufReader;
  struct Value {
    uint32_t type = 0;
    uint32_t element_type = 0;  // of an array
    uint64_t n_elements = 1;
    std::span<const uint8_t> payload;
  };

  explicit GgufFile(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {}
  static Result<std::shared_ptr<GgufFile>> parse(std::shared_ptr<const MappedFile> file);
  Status open_other_parts();
  Status add_part(std::shared_ptr<const GgufFile> file, int64_t number);
  Result<const Value*> find(std::string_view key) const;
  Status wrong_type(std::string_view key, std::string_view wanted) const;

  const std::shared_ptr<const MappedFile> file_;
  size_t header_bytes_ = 0;
  std::map<std::string_view, Value> values_;
  std::vector<TensorView> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
  std::vector<std::shared_ptr<const GgufFile>> other_parts_;
};

}  // namespace parkd
