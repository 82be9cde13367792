// WireReader: the fields of one Protocol Buffers message, in order (protobuf.dev, "Encoding").
// Enough for tokenizer.model, whose three messages are read field by field: Debian ships
// SentencePiece's library without the header of its own messages, and generating them would bring
// protoc into the build for twelve fields. Bounded: it never reads past its bytes.
// Values. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace parkd {

struct WireField {
  uint32_t number = 0;
  std::string_view bytes;  // of a length-delimited field
  uint64_t value = 0;      // of a varint, fixed32 or fixed64 field
};

class WireReader {
 public:
  explicit WireReader(std::string_view message) : rest_(message) {}

  // The next field; nothing at the end and where the bytes are broken.
  std::optional<WireField> next();
  bool broken() const { return broken_; }

 private:
  bool take_varint(uint64_t& value);
  bool take_fixed(size_t n_bytes, uint64_t& value);

  std::string_view rest_;
  bool broken_ = false;
};

}  // namespace parkd
