#include "lib/text/wire_reader.h"

namespace parkd {

bool WireReader::take_varint(uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

bool WireReader::take_fixed(size_t n_bytes, uint64_t& value) {
  if (rest_.size() < n_bytes) return false;
  value = 0;
  for (size_t i = 0; i < n_bytes; ++i) {
    value |= uint64_t{static_cast<uint8_t>(rest_[i])} << (8 * i);
  }
  rest_.remove_prefix(n_bytes);
  return true;
}

std::optional<WireField> WireReader::next() {
  if (rest_.empty() || broken_) return std::nullopt;
  WireField field;
  uint64_t key = 0;
  bool whole = take_varint(key) && key >> 3 > 0 && key >> 3 < (1u << 29);
  field.number = static_cast<uint32_t>(key >> 3);
  switch (key & 7) {
    case 0:
      whole = whole && take_varint(field.value);
      break;
    case 1:
      whole = whole && take_fixed(8, field.value);
      break;
    case 2: {
      uint64_t size = 0;
      whole = whole && take_varint(size) && size <= rest_.size();
      if (!whole) break;
      field.bytes = rest_.substr(0, size);
      rest_.remove_prefix(size);
      break;
    }
    case 5:
      whole = whole && take_fixed(4, field.value);
      break;
    default:
      whole = false;  // groups are no longer written
  }
  if (whole) return field;
  broken_ = true;
  return std::nullopt;
}

}  // namespace parkd
