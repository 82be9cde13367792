// WeightsFile: a model's named tensors, whoever holds them: a GGUF file (gguf.h) or the safetensors
// of a directory (model_folder.h).
//
// Immutable, any thread; shared, because its TensorViews point into mapped files.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/weights/float8.h"
#include "lib/weights/tensor.h"

namespace parkd {

// A tensor that is there and cannot be read, which matters only to who asks for it.
struct UnreadTensor {
  std::string_view name;
  std::string why;  // "F8_E4M3 is not supported yet"
};

class WeightsFile {
 public:
  virtual ~WeightsFile() = default;

  // In the files' order. A one-dimensional tensor is one row.
  virtual std::span<const TensorView> tensors() const = 0;
  virtual const TensorView* find_tensor(std::string_view name) const = 0;  // nullptr: there is none
  virtual std::span<const UnreadTensor> unread_tensors() const = 0;
  // Matrices of 8-bit floats, whose scales are tensors of their own.
  virtual std::span<const Float8Tensor> float8_tensors() const = 0;

  // Path of the file or directory.
  virtual const std::string& name() const = 0;
  // "NAME: what", the form of every error about it.
  std::string error_text(std::string_view what) const { return name() + ": " + std::string(what); }

  // All bytes that the model is made of, file by file, in an order that its contents alone decide.
  virtual std::vector<std::span<const uint8_t>> contents() const = 0;
  // The same without the tensors' data.
  virtual std::vector<std::span<const uint8_t>> headers() const = 0;
};

}  // namespace parkd
