// The result files of a batch of a file, as they are read out of its members' messages: page after
// page, in the order in which the members ended.
//
// Of a batch that runs they only grow; of one that has ended they stay as they are, each byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/job/batch.h"
#include "lib/store/client_store.h"

namespace parkd {

// A walk over the messages of a batch. A page is held whole, so it is bounded by its bytes. Its
// owner's thread.
inline constexpr int64_t kResultPageBytes = 2 << 20;

class ResultWalk {
 public:
  explicit ResultWalk(const Batch& batch);

  // What the next page is asked for by.
  const FetchRequest& request() const { return request_; }
  // It came: goes on behind it. Whether it was the last, when it was read.
  bool take(const FetchAnswer& page);
  // Behind the last message that came.
  uint64_t reached() const { return request_.after_sequence; }

 private:
  FetchRequest request_;
};

// What a page of messages is in one of the files. Messages behind `through` are left out. Pure.
struct ResultLines {
  std::string text;
  int64_t n_lines = 0;
};
ResultLines result_lines(const Batch& batch, ResultKind kind, const FetchAnswer& page,
                         uint64_t through = UINT64_MAX);

}  // namespace parkd
