// BatchStore: a store as those see it who open, seal, cancel and read batches. By job_store.h's
// rules. Members come by ClientStore::submit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/job/batch.h"
#include "lib/store/completion.h"

namespace parkd {

struct BatchFilter {
  std::optional<std::string> tenant;
  std::string after;  // a batch id: those opened before it; empty: from the newest
  int32_t limit = 100;
};

class BatchStore {
 public:
  // Errors: invalid (param = the field), conflict (idempotency key of another content), exhausted
  // (batches of the tenant; where batches are kept in RAM, their bytes).
  virtual void open_batch(BatchSpec spec, Completion<OpenedBatch> done) = 0;
  // Both are idempotent and answer the batch as it is then; cancelling seals, ends the members that
  // wait and asks for the end of those that are claimed. None of them is claimed from one commit
  // on; where daemons share the store the ends themselves are several. `tenant` empty: any.
  // Errors: not_found.
  virtual void seal_batch(std::string id, std::string tenant, Completion<Batch> done) = 0;
  virtual void cancel_batch(std::string id, std::string tenant, Completion<Batch> done) = 0;
  // With live members counted. Errors: not_found.
  virtual void get_batch(std::string id, std::string tenant, Completion<Batch> done) = 0;
  // The newest first. Errors: invalid (param = "after": no such batch, or none of the tenant's).
  virtual void list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) = 0;

 protected:
  ~BatchStore() = default;
};

}  // namespace parkd
