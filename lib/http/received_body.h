// ReceivedBody: the bytes of a request as they came, in blocks of 64 KiB, charged to a ByteBudget.
//
// The control thread only ever fills one block at a time and passes the list on; the parser
// makes one text of it, on a thread that may take its time.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "lib/http/byte_budget.h"

namespace parkd {

inline constexpr size_t kBlockBytes = 64 << 10;

class ReceivedBody {
 public:
  // Where the bytes are charged, and how many were announced (and charged) already; before the
  // first of them.
  void charge_to(std::shared_ptr<ByteBudget::Charge> charge, size_t announced_bytes) {
    charge_ = std::move(charge);
    announced_bytes_ = announced_bytes;
  }
  const std::shared_ptr<ByteBudget::Charge>& charge() const { return charge_; }
  size_t size() const { return bytes_; }
  // Why append() failed; ok when it did not.
  const Status& failure() const { return failure_; }
  void fail(const Status& why) { failure_ = why; }

  // Copies `size` bytes behind those that came. Errors: unavailable (the budget, or no memory).
  Status append(const char* bytes, size_t size);

  // The bytes as one text; each block goes as soon as it is copied. Empties this.
  std::string take();

 private:
  struct Block {
    std::unique_ptr<char[]> bytes;
    size_t capacity_bytes = 0;
    size_t used_bytes = 0;
  };

  Status add_block(size_t wanted_bytes);

  std::list<Block> blocks_;
  size_t bytes_ = 0;
  size_t announced_bytes_ = 0;
  Status failure_;
  std::shared_ptr<ByteBudget::Charge> charge_;  // null: not charged
};

}  // namespace parkd
