// SafetensorsFile: one safetensors file, read through a memory map: its tensors where they lie.
// Source: github.com/huggingface/safetensors, README, "Format".
//
// Immutable after read(), any thread. The bytes are taken as hostile: every length, name, type,
// shape and offset is checked before it is used, and an error names the file, the tensor and the
// limit. The tensors' data must cover the file without holes or overlaps, as the format asks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/weights/float8.h"
#include "lib/weights/mapped_file.h"
#include "lib/weights/tensor.h"
#include "lib/weights/weights_file.h"

namespace parkd {

inline constexpr uint64_t kSafetensorsHeaderBytesMax = 100'000'000;  // the format's own limit
inline constexpr size_t kSafetensorsTensorsMax = size_t{1} << 16;
inline constexpr size_t kSafetensorsNameBytesMax = 1024;
inline constexpr size_t kSafetensorsDimensionsMax = 8;

class SafetensorsFile {
 public:
  // Errors: corrupt when the bytes contradict themselves or the file's size, invalid when the
  // header is not JSON.
  static Result<std::shared_ptr<const SafetensorsFile>> read(
      std::shared_ptr<const MappedFile> file);
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  // In the order of their data. Read are tensors of F32, F16 and BF16 with at most 2 dimensions,
  // and matrices of F8_E4M3; all others are checked as well, and listed as unread.
  std::span<const TensorView> tensors() const { return tensors_; }
  std::span<const UnreadTensor> unread_tensors() const { return unread_; }
  std::span<const Float8Tensor> float8_tensors() const { return float8_; }

  const std::string& name() const { return file_->name(); }
  std::span<const uint8_t> bytes() const { return file_->bytes(); }
  // What stands before the tensors' data, its length included.
  std::span<const uint8_t> header() const { return bytes().first(header_bytes_); }

 private:
  friend class SafetensorsReader;
  explicit SafetensorsFile(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {}

  const std::shared_ptr<const MappedFile> file_;
  size_t header_bytes_ = 0;
  std::vector<std::string> names_;  // of the views; never grows after read()
  std::vector<TensorView> tensors_;
  std::vector<UnreadTensor> unread_;
  std::vector<Float8Tensor> float8_;
};

}  // namespace parkd
