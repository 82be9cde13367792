// Builds safetensors files in memory, sound ones and, from any header, broken ones. For tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json_writer.h"

namespace parkd::testing {

// A file of this header and this many bytes of data.
inline std::vector<uint8_t> safetensors_of(std::string header, size_t data_bytes) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::vector<uint8_t> file(8 + header.size() + data_bytes);
  const uint64_t length = header.size();
  std::memcpy(file.data(), &length, sizeof length);
  std::memcpy(file.data() + 8, header.data(), header.size());
  for (size_t i = 0; i < data_bytes; ++i) file[8 + header.size() + i] = static_cast<uint8_t>(i);
  return file;
}

class SafetensorsWriter {
 public:
  SafetensorsWriter() {
    header_.begin_object().begin_object("__metadata__").member("format", "pt").end_object();
  }
  void add(std::string_view name, std::string_view dtype, std::span<const int64_t> shape,
           std::span<const uint8_t> bytes) {
    header_.begin_object(name).member("dtype", dtype).begin_array("shape");
    for (const int64_t size : shape) header_.element(size);
    header_.end_array().begin_array("data_offsets").element(data_.size());
    data_.insert(data_.end(), bytes.begin(), bytes.end());
    header_.element(data_.size()).end_array().end_object();
  }
  // Once.
  std::vector<uint8_t> bytes() {
    header_.end_object();
    std::vector<uint8_t> file = safetensors_of(header_.take(), 0);
    file.insert(file.end(), data_.begin(), data_.end());
    return file;
  }

 private:
  JsonWriter header_;
  std::vector<uint8_t> data_;
};

}  // namespace parkd::testing
