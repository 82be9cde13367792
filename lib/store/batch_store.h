// BatchStore: a store as those see it who open, seal, cancel and read batches. By job_store.h's
// rules. Members come by ClientStore::submit.
#pragma once

#include <chrono>
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
  std::optional<bool> of_file{};  // those of files, or those of none; empty: both
  // Those that have still to read this file (Batch::reads_file); empty: whatever they read.
  std::string reads_file{};
};

// Who asks for a batch that a daemon has something to do for (Batch::needs_daemon).
struct BatchWorkRequest {
  std::string daemon;  // any name that no other process has
  // So long no other daemon is given the batch, from the last time it was advanced; where one
  // daemon has the store alone it means nothing.
  std::chrono::seconds hold{60};
  std::vector<std::string> passed_over{};  // batches that are not wanted now
  // Tenants whose files are not to be read now; those of their batches that have finished come.
  std::vector<std::string> tenants_passed_over{};
};

// Who asks for a batch whose end is to be told to its webhook now (Batch::webhook).
struct WebhookRequest {
  std::string daemon;  // any name that no other process has
  // So long no other daemon is given it; where one daemon has the store alone it means nothing.
  std::chrono::seconds hold{60};
  std::vector<std::string> passed_over{};          // batches that are not wanted now
  std::vector<std::string> tenants_passed_over{};  // whose batches are not
};

// How an attempt to tell a batch's end came out.
struct WebhookAttempt {
  int32_t number = 1;  // webhook.attempts, as next_webhook answered it, and one more
  WebhookStatus status = WebhookStatus::delivered;  // pending: it failed, and is tried again
  std::chrono::milliseconds pause{0};               // until then
  std::string error{};  // why it failed; at most kWebhookErrorBytesMax are kept
};

class BatchStore {
 public:
  // A batch of a file is compared by its completion_window, not its deadline.
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

  // --- batches of files (lib/job/file_batch.h)
  // The one that has waited longest; empty: there is none. What two daemons do for one batch at a
  // time is harmless: members come under idempotency keys, and a batch never goes back.
  virtual void next_batch_work(BatchWorkRequest request, Completion<std::optional<Batch>> done) = 0;
  // How far it has come, as batch_rules.h's advance() has it; answers the batch as it is then,
  // whether that changed it or not. Errors: not_found (no batch, or none of a file).
  // The commit in which it ends, or its file is refused, makes its webhook due.
  virtual void advance_batch(std::string id, FileProgress progress, Completion<Batch> done) = 0;

  // --- their webhooks
  // The one that has been due for longest; empty: none is.
  virtual void next_webhook(WebhookRequest request, Completion<std::optional<Batch>> done) = 0;
  // What became of an attempt, as batch_rules.h's note_attempt() has it; answers the batch as it is
  // then, whether that changed it or not. Errors: not_found (no batch, or none of a file).
  virtual void note_webhook(std::string id, WebhookAttempt attempt, Completion<Batch> done) = 0;

 protected:
  ~BatchStore() = default;
};

}  // namespace parkd
