// The verbs of RocksDbOutbox: reading the outbox from the front, and removing what was delivered or
// taken. By client_verbs.h's rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "lib/base/status.h"
#include "lib/job/job.h"
#include "lib/store/completion.h"
#include "lib/store/rocksdb/commit.h"
#include "lib/store/rocksdb/embedded_state.h"
#include "lib/store/rocksdb/rocksdb_outbox.h"

namespace parkd::embedded {

Result<OutboxIdentity> read_outbox_identity(const State& state);
Result<OutboxPage> read_outbox(const State& state, size_t messages_max, size_t bytes_max);
Result<std::optional<MessagePlace>> find_message(const State& state, JobId id);
bool drop_delivered(State& state, uint64_t through, const Completion<int64_t>& done,
                    Commit& commit);
bool forget_requests(State& state, const std::vector<RequestPlace>& places,
                     const Completion<int64_t>& done, Commit& commit);
// Of a message that is taken: its row goes in the same commit.
void leave_outbox(const State& state, uint64_t sequence, Commit& commit);

}  // namespace parkd::embedded
