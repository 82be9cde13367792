// DispatcherFairness: dispatchers played by hand (world.h), each on an empty store. A program of
// tests instantiates the suite with the stores that it has.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "tests/dispatch/world.h"

namespace parkd {

struct FairnessStore {
  std::string name;
  // An empty one whose clock stands still; null: the world's own, in memory. One world at a time.
  std::function<std::shared_ptr<JobStore>()> open;
  // Null: all its tenants have the weight 1.
  std::function<void(const std::string& tenant, double weight)> set_weight;
  bool is_slow = false;  // milliseconds a verb

  friend std::ostream& operator<<(std::ostream& out, const FairnessStore& store) {
    return out << store.name;
  }
};

class DispatcherFairness : public testing::TestWithParam<FairnessStore> {
 protected:
  static std::unique_ptr<World> world_of(int64_t capacity, int32_t lot_places,
                                         int32_t max_num_seqs) {
    return std::make_unique<World>(capacity, lot_places, max_num_seqs, DispatcherOptions{},
                                   GetParam().open ? GetParam().open() : nullptr);
  }
  // Of so many jobs or starts: a fifth on a slow store.
  static int many(int n) { return GetParam().is_slow ? n / 5 : n; }
  // Whether the tenant has that weight now: call it with the world's store open.
  static bool set_weight(const std::string& tenant, double weight) {
    if (!GetParam().set_weight) return false;
    GetParam().set_weight(tenant, weight);
    return true;
  }
};

inline std::string name_of_store(const testing::TestParamInfo<FairnessStore>& suite) {
  return suite.param.name;
}

}  // namespace parkd
