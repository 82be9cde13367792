// What comes through the dispatcher's inbox: what other threads ask of it, and the answers to what
// its parts asked of the store, the blocking threads and the engines. Values; the parts that ask
// hold the inbox, because an answer may come after the dispatcher is gone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lib/base/inbox.h"
#include "lib/base/status.h"
#include "lib/dispatch/in_flight.h"
#include "lib/dispatch/model_port.h"
#include "lib/dispatch/store_writer.h"
#include "lib/engine/generation.h"
#include "lib/job/job.h"
#include "lib/store/completion.h"
#include "lib/store/daemon_store.h"

namespace parkd {

struct ModelReady {
  std::string model;
  ModelPort port;
};
struct ModelFailed {
  std::string model;
  Status why;
};
struct ModelLoading {
  std::string model;
  bool loading;  // false: it is not loaded, and waits for work or room
};
struct UnloadModel {
  std::string model;
  std::function<void()> gone;
};
struct KeepModel {
  std::string model;
};
struct WorkAvailable {
  std::string model;
};
struct CancelRequested {
  JobId id;
  RunLease lease;
};
struct CallerWaits {
  std::string model;
  JobId id;
  bool waits;  // false: no more
};
struct SubmitHere {
  JobSpec job;
  Completion<SubmittedJob> done;
  std::function<void(JobSpec)> no_place;
};
struct OwnershipLost {};
struct LeftBehind {
  DeathReport report;
  std::function<void()> noted;
};
struct DeviceLost {
  Status why;
  DeathReport report;  // what was in the engines
};
struct Drain {
  bool at_once;
};
struct Generated {
  GenerationResult result;
};

// Answers. (FinishDone and ReleaseDone are the StoreWriter's.)
struct Claimed {
  std::string model;
  uint64_t ownership;  // Intake's when it was asked for
  Result<std::vector<Job>> jobs;
};
struct ClaimedHere {  // SubmitHere's
  std::string model;
  std::string tenant;
  LotPlace place;
  uint64_t ownership;
  std::optional<Job> job;
};
struct Prepared {
  uint64_t ticket;
  Result<PreparedJob> prepared;
};
struct Rendered {
  uint64_t ticket;
  Result<std::string> body;
};

struct DeathsNoted {
  Result<DeathsAnswer> answer;
};

using DispatcherMessage =
    std::variant<ModelReady, ModelFailed, ModelLoading, UnloadModel, KeepModel, WorkAvailable,
                 CancelRequested, CallerWaits, std::shared_ptr<SubmitHere>, OwnershipLost,
                 LeftBehind, DeviceLost, DeathsNoted, Claimed, ClaimedHere, Prepared, Generated,
                 Rendered, FinishDone, ReleaseDone, Drain>;
using DispatcherInbox = Inbox<DispatcherMessage>;

}  // namespace parkd
