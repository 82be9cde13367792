#include "lib/http/received_body.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace parkd {

Status ReceivedBody::add_block(size_t wanted_bytes) {
  // A body without a length grows by whole blocks; one with a length is charged already.
  const bool announced = bytes_ < announced_bytes_;
  const size_t capacity =
      announced ? std::min(kBlockBytes, announced_bytes_ - bytes_) : kBlockBytes;
  if (charge_ != nullptr && charge_->held_bytes() < bytes_ + std::min(wanted_bytes, capacity)) {
    PARKD_RETURN_IF_ERROR(charge_->grow(bytes_ + capacity - charge_->held_bytes()));
  }
  try {
    blocks_.push_back({std::unique_ptr<char[]>(new char[capacity]), capacity, 0});
  } catch (const std::bad_alloc&) {
    return unavailable("parkd has no memory left for the request's body");
  }
  return {};
}

Status ReceivedBody::append(const char* bytes, size_t size) {
  while (size > 0) {
    if (blocks_.empty() || blocks_.back().used_bytes == blocks_.back().capacity_bytes) {
      PARKD_RETURN_IF_ERROR(add_block(size));
    }
    Block& block = blocks_.back();
    const size_t n = std::min(size, block.capacity_bytes - block.used_bytes);
    std::memcpy(block.bytes.get() + block.used_bytes, bytes, n);
    block.used_bytes += n;
    bytes_ += n;
    bytes += n;
    size -= n;
  }
  return {};
}

std::string ReceivedBody::take() {
  std::string text;
  text.reserve(bytes_);
  while (!blocks_.empty()) {
    text.append(blocks_.front().bytes.get(), blocks_.front().used_bytes);
    blocks_.pop_front();
  }
  bytes_ = 0;
  return text;
}

}  // namespace parkd
