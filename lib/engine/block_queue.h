// BlockQueue: a queue of KV block ids out of which any one can be taken, in constant time and
// without allocating. For one thread.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/base/check.h"

namespace parkd {

class BlockQueue {
 public:
  // Of ids below `n_blocks`.
  explicit BlockQueue(int64_t n_blocks)
      : head_(static_cast<int32_t>(n_blocks)),
        links_(static_cast<size_t>(n_blocks) + 1, Link{kNotIn, kNotIn}) {
    link(head_) = {head_, head_};
  }

  bool empty() const { return size_ == 0; }
  int64_t size() const { return size_; }

  void push_back(int32_t id) {
    PARKD_CHECK(link(id).next == kNotIn, "a block stands in the queue once");
    const int32_t last = link(head_).previous;
    link(id) = {last, head_};
    link(last).next = id;
    link(head_).previous = id;
    ++size_;
  }

  int32_t pop_front() {
    const int32_t id = link(head_).next;
    remove(id);
    return id;
  }

  void remove(int32_t id) {
    const Link at = link(id);
    PARKD_CHECK(id != head_ && at.next != kNotIn, "a block that stands in the queue");
    link(at.previous).next = at.next;
    link(at.next).previous = at.previous;
    link(id) = {kNotIn, kNotIn};
    --size_;
  }

 private:
  static constexpr int32_t kNotIn = -1;
  struct Link {
    int32_t previous;
    int32_t next;
  };
  Link& link(int32_t id) { return links_[static_cast<size_t>(id)]; }

  const int32_t head_;  // one past the last id: closes the ring
  std::vector<Link> links_;
  int64_t size_ = 0;
};

}  // namespace parkd
