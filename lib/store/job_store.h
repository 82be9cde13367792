// JobStore: the durable queue and its mailbox, as a few deep verbs in four faces: ClientStore
// submits and takes, BatchStore keeps sets of jobs, CallerStore knows who waits for a job,
// DaemonStore claims and ends. A user takes the narrowest face that has its verbs; who opens a
// store owns the whole.
//
// Rules of every verb: it is one transaction, idempotent, fenced by (id, run_lease) where it acts
// on a claimed job, and asynchronous: it returns at once and completes once (completion.h). Verbs
// may be called from any thread. After stop() every verb completes with unavailable.
//
// What is durable when a completion says ok: submit, finish, cancel, release, take, requeue,
// note_deaths, attach, detach, keep, and the verbs that change a batch: synced. Claims are not: an
// embedded store re-queues every unfinished job when it is opened again.
//
// The faces are bases without data and without a verb in common, so that a store is one object
// which converts to each of them by itself; they cannot be deleted through.
//
// Implementations: lib/store/memory (the reference semantics), lib/store/rocksdb (the embedded
// default), lib/store/postgres, lib/store/outbox. tests/store/conformance runs one suite on all of
// them. The table of verbs: lib/store/README.md.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/store/batch_store.h"
#include "lib/store/caller_store.h"
#include "lib/store/client_store.h"
#include "lib/store/daemon_store.h"
#include "lib/store/store_observer.h"

namespace parkd {

class JobStore : public ClientStore, public BatchStore, public CallerStore, public DaemonStore {
 public:
  virtual ~JobStore() = default;

  // Before any verb; at most once.
  virtual void set_observer(StoreObserver observer) = 0;

  // As a store of one daemon does it, in whose queue the job is nobody else's to claim.
  void submit_and_claim(JobSpec job, Completion<SubmittedAndClaimed> done) override {
    std::vector<JobSpec> jobs;
    jobs.push_back(std::move(job));
    submit(std::move(jobs), [done = std::move(done)](Result<std::vector<SubmittedJob>> submitted) {
      if (!submitted.ok()) return done(submitted.status());
      done(SubmittedAndClaimed{std::move(submitted->front()), std::nullopt});
    });
  }

  // Likewise: its callers wait at no other's door.
  void detach(JobId id, std::string tenant, Completion<std::optional<CancelAnswer>> done) override {
    cancel(id, std::move(tenant), [done = std::move(done)](const Result<CancelAnswer>& answer) {
      if (!answer.ok()) return done(answer.status());
      done(std::optional(*answer));
    });
  }

  // Completes what was accepted, syncs, closes. Blocks; idempotent.
  virtual void stop() = 0;
};

}  // namespace parkd
