// CallerStore: which jobs have callers: clients that wait at a daemon's door for the job's end, and
// whose going away ends it. By job_store.h's rules.
//
// A job whose last caller has gone is cancelled after its grace. The daemon at whose door they wait
// counts that; what stands here lets another daemon, or the same one started again, count it when
// that daemon is gone. Until a job is attached its callers are that daemon's alone: where it dies
// the job goes on.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lib/job/job_id.h"
#include "lib/store/completion.h"

namespace parkd {

enum class CancelAnswer;

struct AttachedJob {
  JobId id = 0;
  std::string tenant;
  std::chrono::seconds grace{0};
};

class CallerStore {
 public:
  // Callers of that live job wait at this daemon, and it is cancelled so long after the last of
  // them. Without `grace`: callers come to a job that may be attached. Answers its grace; nothing
  // where the job is not attached: no caller's going ends it, or it has ended. Idempotent.
  virtual void attach(JobId id, std::optional<std::chrono::seconds> grace,
                      Completion<std::optional<std::chrono::seconds>> done) = 0;

  // No caller waits at this daemon, and the grace is over: cancels the job. Answers nothing where
  // callers wait at another daemon's door: then that one sees to it.
  virtual void detach(JobId id, std::string tenant,
                      Completion<std::optional<CancelAnswer>> done) = 0;

  // The job is not attached any more: no caller's going ends it. Answers whether it was.
  virtual void keep(JobId id, Completion<bool> done) = 0;

  // The attached jobs whose daemon is gone: they are attached to this one now, which counts their
  // grace from here on.
  virtual void adopt(Completion<std::vector<AttachedJob>> done) = 0;

 protected:
  ~CallerStore() = default;
};

}  // namespace parkd
