// Builds GGUF v3 files in memory, sound ones and, with the raw verbs, broken ones. For tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/weights/gguf.h"

namespace parkd::testing {

class GgufWriter {
 public:
  static constexpr size_t kAlignment = 32;  // of a tensor's data

  void add_u32(std::string_view key, uint32_t value) { add_scalar(key, 4, value); }
  void add_u64(std::string_view key, uint64_t value) { add_scalar(key, 10, value); }
  void add_i32(std::string_view key, int32_t value) { add_scalar(key, 5, value); }
  void add_f32(std::string_view key, float value) { add_scalar(key, 6, value); }
  void add_bool(std::string_view key, bool value) {
    add_scalar(key, 7, static_cast<uint8_t>(value));
  }
  void add_string(std::string_view key, std::string_view value) {
    begin_key(key, 8);
    put_string(keys_, value);
  }
  void add_strings(std::string_view key, std::span<const std::string> values) {
    begin_key(key, 9);
    put<uint32_t>(keys_, 8);
    put<uint64_t>(keys_, values.size());
    for (const std::string& value : values) put_string(keys_, value);
  }
  void add_i32s(std::string_view key, std::span<const int32_t> values) {
    begin_key(key, 9);
    put<uint32_t>(keys_, 5);
    put<uint64_t>(keys_, values.size());
    for (const int32_t value : values) put(keys_, value);
  }
  void add_f32s(std::string_view key, std::span<const float> values) {
    begin_key(key, 9);
    put<uint32_t>(keys_, 6);
    put<uint64_t>(keys_, values.size());
    for (const float value : values) put(keys_, value);
  }
  // A key of any type number with any payload.
  void add_raw(std::string_view key, uint32_t type, std::span<const uint8_t> payload) {
    begin_key(key, type);
    keys_.insert(keys_.end(), payload.begin(), payload.end());
  }

  // dimensions: innermost first, as they stand in the file.
  void add_tensor(std::string_view name, uint32_t type, std::span<const uint64_t> dimensions,
                  std::span<const uint8_t> bytes) {
    add_tensor_at(name, type, dimensions, data_.size());
    data_.insert(data_.end(), bytes.begin(), bytes.end());
    data_.resize((data_.size() + kAlignment - 1) / kAlignment * kAlignment);
  }
  void add_tensor(std::string_view name, TensorType type, int64_t rows, int64_t columns,
                  std::span<const uint8_t> bytes) {
    std::vector<uint64_t> dimensions = {static_cast<uint64_t>(columns)};
    if (rows != 1) dimensions.push_back(static_cast<uint64_t>(rows));
    add_tensor(name, static_cast<uint32_t>(type), dimensions, bytes);
  }
  // A table entry without data of its own.
  void add_tensor_at(std::string_view name, uint32_t type, std::span<const uint64_t> dimensions,
                     uint64_t offset) {
    ++n_tensors_;
    put_string(table_, name);
    put(table_, static_cast<uint32_t>(dimensions.size()));
    for (const uint64_t dimension : dimensions) put(table_, dimension);
    put(table_, type);
    put(table_, offset);
  }
  void add_data(size_t n_bytes) { data_.resize(data_.size() + n_bytes); }

  std::vector<uint8_t> bytes() const { return bytes_with_counts(n_tensors_, n_keys_); }
  std::vector<uint8_t> bytes_with_counts(uint64_t n_tensors, uint64_t n_keys) const {
    std::vector<uint8_t> file;
    put<uint32_t>(file, 0x46554747);
    put<uint32_t>(file, 3);
    put(file, n_tensors);
    put(file, n_keys);
    file.insert(file.end(), keys_.begin(), keys_.end());
    file.insert(file.end(), table_.begin(), table_.end());
    file.resize((file.size() + kAlignment - 1) / kAlignment * kAlignment);
    file.insert(file.end(), data_.begin(), data_.end());
    return file;
  }

  template <class T>
  static void put(std::vector<uint8_t>& out, T value) {
    const size_t at = out.size();
    out.resize(at + sizeof value);
    std::memcpy(out.data() + at, &value, sizeof value);
  }
  static void put_string(std::vector<uint8_t>& out, std::string_view text) {
    put<uint64_t>(out, text.size());
    out.insert(out.end(), text.begin(), text.end());
  }

 private:
  void begin_key(std::string_view key, uint32_t type) {
    ++n_keys_;
    put_string(keys_, key);
    put(keys_, type);
  }
  template <class T>
  void add_scalar(std::string_view key, uint32_t type, T value) {
    begin_key(key, type);
    put(keys_, value);
  }

  uint64_t n_keys_ = 0;
  uint64_t n_tensors_ = 0;
  std::vector<uint8_t> keys_;
  std::vector<uint8_t> table_;
  std::vector<uint8_t> data_;
};

}  // namespace parkd::testing
