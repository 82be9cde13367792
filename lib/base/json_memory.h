// JsonMemory: what one JSON text may cost while it is read. Every byte that Boost.JSON allocates
// for it, the parser's own stack included, comes from here and is counted.
//
// One thread. It must outlive the values that were read with it.
#pragma once

#include <boost/json/memory_resource.hpp>
#include <cstddef>
#include <functional>

#include "lib/base/status.h"

namespace parkd {

// A text of small values takes some 24 bytes a value, three times over while an array grows; one of
// prompts takes little more than itself. So this many times the text's bytes is what no sane
// request needs, and no less than the floor is always granted.
inline constexpr size_t kJsonMemoryFactor = 16;
inline constexpr size_t kJsonMemoryFloorBytes = 64 << 10;

size_t json_memory_bytes_max(size_t text_bytes);

class JsonMemory final : public boost::json::memory_resource {
 public:
  // Asked before the bytes held grow by so many; what is granted stays granted.
  using Grow = std::function<Status(size_t bytes)>;

  explicit JsonMemory(size_t text_bytes, Grow grow = {})
      : bytes_max_(json_memory_bytes_max(text_bytes)), grow_(std::move(grow)) {}

  size_t peak_bytes() const { return peak_bytes_; }
  // Why an allocation was refused; ok when none was. invalid: the text is at fault.
  const Status& refusal() const { return refusal_; }

 private:
  void* do_allocate(size_t bytes, size_t alignment) override;
  void do_deallocate(void* memory, size_t bytes, size_t alignment) override;
  bool do_is_equal(const boost::container::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  const size_t bytes_max_;
  const Grow grow_;
  size_t held_bytes_ = 0;
  size_t peak_bytes_ = 0;
  size_t granted_bytes_ = 0;
  Status refusal_;
};

}  // namespace parkd
