// FailingNew: the n-th allocation that our own code makes on a store's threads fails. Linking it
// replaces the program's operator new.
//
// Allocations with a frame of the database's library on the stack never fail: RocksDB is not safe
// against exceptions, and what it does without memory is not ours to mend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace parkd::testing {

class FailingNew {
 public:
  static constexpr size_t kEndless = SIZE_MAX;
  // Whose allocations fail, by name, and the shared library that is left alone. Before the first
  // arm(); without it RocksDB's store.
  static void aim(std::vector<std::string> threads, std::string library);
  // From the `first`-th on (0: the next one) `count` allocations fail, of at least `bytes_min`.
  static void arm(size_t first, size_t count, size_t bytes_min = 0);
  // How many have failed since arm().
  static size_t n_failed();
  static size_t disarm();
};

}  // namespace parkd::testing
