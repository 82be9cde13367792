// BatchAccounts: how many batches are unfinished and what all that are remembered take, by tenant.
//
// A store that keeps its batches in RAM, also those that it reads at its opening, is bounded by
// these limits alone. Not thread-safe: its owner's.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "lib/base/status.h"
#include "lib/job/batch.h"
#include "lib/store/store_options.h"

namespace parkd {

class BatchAccounts {
 public:
  void add(const Batch& batch) { change(batch, 1); }
  void remove(const Batch& batch) { change(batch, -1); }

  // Whether one more is to be opened, beside those that are about to be. Errors: exhausted, naming
  // limit, tenant and value.
  Status check_open(const BatchSpec& spec, const BatchAccounts& beside,
                    const StoreOptions& options) const;

 private:
  struct Account {
    int64_t n_unfinished = 0;
    int64_t bytes = 0;
  };
  void change(const Batch& batch, int64_t sign);
  Account of(const std::string& tenant) const;

  std::map<std::string, Account> tenants_;
  int64_t bytes_ = 0;
};

// The refusal of one more batch of a tenant that has `n_unfinished`.
Status too_many_batches(std::string_view tenant, int64_t n_unfinished, int64_t limit);

}  // namespace parkd
