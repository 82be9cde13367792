// An embedded store in a directory, opened and closed as a test says.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "lib/base/clock.h"
#include "lib/store/rocksdb/embedded_store.h"
#include "tests/support/store_driver.h"

namespace parkd {

class StoreOnDisk {
 protected:
  // Of the one that was open, nothing stays. `clock` outlives the store: close it before.
  Status open_store(const std::string& dir, Clock& clock) {
    close();
    RocksDbStoreOptions options;
    options.dir = dir;
    auto opened = open_rocksdb_store(options, clock);
    if (!opened.ok()) return opened.status();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<StoreDriver>(*store_);
    return {};
  }
  void close() {
    driver_.reset();
    store_.reset();
  }

  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
};

}  // namespace parkd
