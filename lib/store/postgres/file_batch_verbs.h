// The verbs of batches whose members are the lines of a file: by verbs.h's rules.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/store/batch_store.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/verbs.h"

namespace parkd {

Result<std::optional<Batch>> next_batch_work_row(Connection& connection,
                                                 const BatchWorkRequest& request, Now now);
Result<Batch> advance_batch_row(Connection& connection, const std::string& id,
                                const FileProgress& progress, Now now);

Result<std::optional<Batch>> next_webhook_row(Connection& connection, const WebhookRequest& request,
                                              Now now);
Result<Batch> note_webhook_row(Connection& connection, const std::string& id,
                               const WebhookAttempt& attempt, Now now);

// Of each of these submits why none of it becomes jobs: it gives a batch of a file a job that is
// no line of it. Asks the database only where a member has another mailbox key than such a line.
Result<std::vector<Status>> refused_by_files(Connection& connection,
                                             const std::vector<SubmitGroup>& groups);

}  // namespace parkd
