// MappedFile: the bytes of a file, read through a memory map.
//
// Immutable, any thread; shared, because what is read out of it points into the map. A file that
// shrinks while it is mapped ends in SIGBUS: model files are replaced by rename, not written in
// place.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"

namespace parkd {

class MappedFile {
 public:
  // Errors: not_found when there is none, denied and unavailable when it cannot be opened, corrupt
  // when it is not a regular file or empty.
  static Result<std::shared_ptr<const MappedFile>> open(const std::string& path);
  // Bytes in memory; `name` stands in errors where the path would.
  static std::shared_ptr<const MappedFile> from_bytes(std::string name, std::vector<uint8_t> bytes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& name() const { return name_; }  // the path
  std::span<const uint8_t> bytes() const { return bytes_; }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }
  // "FILE: what", the form of every error about this file.
  std::string error_text(std::string_view what) const { return name_ + ": " + std::string(what); }

 private:
  struct Mapping;
  explicit MappedFile(std::string name);

  const std::string name_;
  std::unique_ptr<Mapping> mapping_;
  std::vector<uint8_t> owned_;
  std::span<const uint8_t> bytes_;  // of mapping_ or owned_
};

}  // namespace parkd
