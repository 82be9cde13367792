#include "lib/store/rocksdb/wal_scan.h"

#include <algorithm>
#include <boost/crc.hpp>
#include <utility>

namespace parkd::wal {
namespace {

constexpr char kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4;

using Crc = boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true>;

uint32_t little_endian_32(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value |= uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return value;
}

size_t little_endian_16(std::string_view bytes) {
  return static_cast<unsigned char>(bytes[0]) |
         static_cast<size_t>(static_cast<unsigned char>(bytes[1])) << 8;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  Crc crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

uint32_t masked_crc(char type, std::string_view payload) {
  Crc crc;
  crc.process_byte(static_cast<unsigned char>(type));
  crc.process_bytes(payload.data(), payload.size());
  const uint32_t sum = crc.checksum();
  return ((sum >> 15) | (sum << 17)) + 0xa282ead8u;
}

bool LogReader::is_whole_at(size_t position, Fragment& fragment) const {
  const size_t block_end = std::min((position / kBlockBytes + 1) * kBlockBytes, bytes_.size());
  if (position + kHeaderBytes > block_end) return false;
  const char type = bytes_[position + 6];
  if (type < kFull || type > kLast) return false;
  const size_t length = little_endian_16(bytes_.substr(position + 4, 2));
  if (position + kHeaderBytes + length > block_end) return false;
  const std::string_view payload = bytes_.substr(position + kHeaderBytes, length);
  if (little_endian_32(bytes_.substr(position, 4)) != masked_crc(type, payload)) return false;
  fragment = {position, type, payload};
  return true;
}

bool LogReader::only_zeros_follow() const {
  return bytes_.find_first_not_of('\0', position_) == std::string_view::npos;
}

LogReader::Step LogReader::read_fragment(Fragment& fragment) {
  const size_t left = kBlockBytes - position_ % kBlockBytes;
  if (left < kHeaderBytes) position_ = std::min(position_ + left, bytes_.size());
  if (position_ >= bytes_.size()) return Step::end;
  if (is_whole_at(position_, fragment)) {
    position_ += kHeaderBytes + fragment.payload.size();
    return Step::fragment;
  }
  return only_zeros_follow() ? Step::end : Step::broken;
}

// Byte by byte: a damaged length says nothing about where the next fragment begins. Bodies may be
// made to look like headers everywhere; when that has cost too much, only blocks' beginnings are
// tried.
bool LogReader::search() {
  Fragment fragment;
  for (++position_; position_ + kHeaderBytes <= bytes_.size(); ++position_) {
    const char type = bytes_[position_ + 6];
    if (type != kFull && type != kFirst) continue;
    if (position_ % kBlockBytes != 0) {
      const size_t length = little_endian_16(bytes_.substr(position_ + 4, 2));
      if (position_ % kBlockBytes + kHeaderBytes + length > kBlockBytes) continue;
      if (length > search_bytes_left_) continue;
      search_bytes_left_ -= length;
    }
    if (!is_whole_at(position_, fragment)) continue;
    searched_ = true;
    return true;
  }
  position_ = bytes_.size();
  return false;
}

Entry LogReader::next() {
  const size_t start = position_;
  Entry entry;
  entry.after_damage = std::exchange(searched_, false);
  bool is_begun = false;
  for (;;) {
    Fragment fragment;
    const Step step = read_fragment(fragment);
    if (step == Step::end && !is_begun) {
      entry.kind = Entry::Kind::end;
      entry.offset = position_;
      return entry;
    }
    const bool begins = fragment.type == kFull || fragment.type == kFirst;
    if (step != Step::fragment || begins == is_begun) {  // cut off, or out of its order
      const uint64_t at = is_begun ? entry.offset : start;
      if (step == Step::fragment && begins) {
        position_ = fragment.offset;  // whole itself: what was begun before it is not
        searched_ = true;
        return {Entry::Kind::damage, at, {}, false};
      }
      return {search() ? Entry::Kind::damage : Entry::Kind::tail, at, {}, false};
    }
    if (!is_begun) entry.offset = fragment.offset;
    is_begun = true;
    entry.payload.append(fragment.payload);
    if (fragment.type == kFull || fragment.type == kLast) {
      entry.kind = Entry::Kind::record;
      return entry;
    }
  }
}

}  // namespace parkd::wal
