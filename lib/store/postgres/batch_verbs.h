// requeue and the batch verbs: by verbs.h's rules.
#pragma once

#include <string>
#include <vector>

#include "lib/store/batch_store.h"
#include "lib/store/client_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/verbs.h"
#include "lib/store/store_options.h"

namespace parkd {

Result<std::vector<RequeuedJob>> requeue_jobs(Connection& connection, const RequeueRequest& request,
                                              Now now, Wakeups& wakeups);

Result<OpenedBatch> open_batch_row(Connection& connection, const BatchSpec& spec,
                                   const StoreOptions& options, WallTime about_now, Now now);
Result<Batch> seal_batch_row(Connection& connection, const std::string& id,
                             const std::string& tenant, Now now);

// A live member of a batch that was cancelled.
struct AskedToCancel {
  JobId id = 0;
  RunLease lease;
  int64_t daemon_id = 0;  // its claimer, who is to be told; 0: it is cancelling (end_cancelled)
};
Result<std::vector<AskedToCancel>> cancel_batch_members(Connection& connection,
                                                        const std::string& id,
                                                        const std::string& tenant, Now now);

Result<Batch> get_batch_row(Connection& connection, const std::string& id,
                            const std::string& tenant, Now now);
Result<std::vector<Batch>> list_batch_rows(Connection& connection, const BatchFilter& filter,
                                           Now now);

}  // namespace parkd
