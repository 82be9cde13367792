#include "lib/store/rocksdb/embedded_store.h"

#include <memory>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/log.h"
#include "lib/store/rocksdb/batch_verbs.h"
#include "lib/store/rocksdb/caller_verbs.h"
#include "lib/store/rocksdb/client_verbs.h"
#include "lib/store/rocksdb/daemon_verbs.h"
#include "lib/store/rocksdb/outbox_verbs.h"
#include "lib/store/rocksdb/read_verbs.h"

namespace parkd {

using embedded::State;

EmbeddedStore::EmbeddedStore(RocksDbStoreOptions options, RocksDbTesting testing, Clock& clock)
    : state_(std::move(options), testing, clock), loop_(state_) {}

Status EmbeddedStore::start() {
  PARKD_RETURN_IF_ERROR(state_.open());
  PARKD_ASSIGN_OR_RETURN(outbox_identity_, embedded::read_outbox_identity(state_));
  if (!state_.has_outbox() && !outbox_identity_.is_empty) {
    log_warn("store.outbox_is_left",
             {{"dir", state_.options.dir},
              {"why", "messages wait for a PostgreSQL mailbox, and none is configured"}});
  }
  loop_.start();
  return {};
}

void EmbeddedStore::set_observer(StoreObserver observer) {
  state_.observer = std::move(observer);
}

// --- ClientStore

void EmbeddedStore::submit(std::vector<JobSpec> jobs, Completion<std::vector<SubmittedJob>> done) {
  auto specs = std::make_shared<std::vector<JobSpec>>(std::move(jobs));
  loop_.write(std::move(done), [specs](State& state, const auto& completion, Commit& commit) {
    return embedded::submit(state, *specs, completion, commit);
  });
}

void EmbeddedStore::cancel(JobId id, std::string tenant, Completion<CancelAnswer> done) {
  loop_.write(std::move(done), [id, tenant = std::move(tenant)](
                                   State& state, const auto& completion, Commit& commit) {
    return embedded::cancel(state, id, tenant, completion, commit);
  });
}

void EmbeddedStore::requeue(RequeueRequest request, Completion<std::vector<RequeuedJob>> done) {
  loop_.write(std::move(done),
              [request = std::move(request)](State& state, const auto& completion, Commit& commit) {
                return embedded::requeue(state, request, completion, commit);
              });
}

void EmbeddedStore::get(JobId id, std::string tenant, Completion<JobRecord> done) {
  loop_.read(std::move(done), [id, tenant = std::move(tenant)](State& state) {
    return embedded::get(state, id, tenant);
  });
}

void EmbeddedStore::list(ListFilter filter, Completion<ListAnswer> done) {
  loop_.read(std::move(done),
             [filter = std::move(filter)](State& state) { return embedded::list(state, filter); });
}

void EmbeddedStore::fetch(FetchRequest request, Completion<FetchAnswer> done) {
  loop_.read(std::move(done), [request = std::move(request)](State& state) {
    return embedded::fetch(state, request);
  });
}

void EmbeddedStore::take(std::string tenant, std::string mailbox_key,
                         std::vector<uint64_t> sequences, Completion<std::vector<Message>> done) {
  loop_.write(std::move(done), [tenant = std::move(tenant), mailbox_key = std::move(mailbox_key),
                                sequences = std::move(sequences)](
                                   State& state, const auto& completion, Commit& commit) {
    return embedded::take(state, tenant, mailbox_key, sequences, completion, commit);
  });
}

void EmbeddedStore::stats(Completion<StoreStats> done) {
  loop_.read(std::move(done), [](State& state) { return embedded::stats(state); });
}

// --- BatchStore

void EmbeddedStore::open_batch(BatchSpec spec, Completion<OpenedBatch> done) {
  loop_.write(std::move(done),
              [spec = std::move(spec)](State& state, const auto& completion, Commit& commit) {
                return embedded::open_batch(state, spec, completion, commit);
              });
}

void EmbeddedStore::seal_batch(std::string id, std::string tenant, Completion<Batch> done) {
  loop_.write(std::move(done), [id = std::move(id), tenant = std::move(tenant)](
                                   State& state, const auto& completion, Commit& commit) {
    return embedded::seal_batch(state, id, tenant, completion, commit);
  });
}

void EmbeddedStore::cancel_batch(std::string id, std::string tenant, Completion<Batch> done) {
  loop_.write(std::move(done), [id = std::move(id), tenant = std::move(tenant)](
                                   State& state, const auto& completion, Commit& commit) {
    return embedded::cancel_batch(state, id, tenant, completion, commit);
  });
}

void EmbeddedStore::get_batch(std::string id, std::string tenant, Completion<Batch> done) {
  loop_.read(std::move(done), [id = std::move(id), tenant = std::move(tenant)](State& state) {
    return embedded::get_batch(state, id, tenant);
  });
}

void EmbeddedStore::list_batches(BatchFilter filter, Completion<std::vector<Batch>> done) {
  loop_.read(std::move(done), [filter = std::move(filter)](State& state) {
    return embedded::list_batches(state, filter);
  });
}

void EmbeddedStore::next_batch_work(BatchWorkRequest request,
                                    Completion<std::optional<Batch>> done) {
  loop_.read(std::move(done), [request = std::move(request)](State& state) {
    return embedded::next_batch_work(state, request);
  });
}

void EmbeddedStore::advance_batch(std::string id, FileProgress progress, Completion<Batch> done) {
  loop_.write(std::move(done), [id = std::move(id), progress = std::move(progress)](
                                   State& state, const auto& completion, Commit& commit) {
    return embedded::advance_batch(state, id, progress, completion, commit);
  });
}

void EmbeddedStore::next_webhook(WebhookRequest request, Completion<std::optional<Batch>> done) {
  loop_.read(std::move(done), [request = std::move(request)](State& state) {
    return embedded::next_webhook(state, request);
  });
}

void EmbeddedStore::note_webhook(std::string id, WebhookAttempt attempt, Completion<Batch> done) {
  loop_.write(std::move(done), [id = std::move(id), attempt = std::move(attempt)](
                                   State& state, const auto& completion, Commit& commit) {
    return embedded::note_webhook(state, id, attempt, completion, commit);
  });
}

// --- CallerStore

void EmbeddedStore::attach(JobId id, std::optional<std::chrono::seconds> grace,
                           Completion<std::optional<std::chrono::seconds>> done) {
  loop_.write(std::move(done), [id, grace](State& state, const auto& completion, Commit& commit) {
    return embedded::attach(state, id, grace, completion, commit);
  });
}

void EmbeddedStore::keep(JobId id, Completion<bool> done) {
  loop_.write(std::move(done), [id](State& state, const auto& completion, Commit& commit) {
    return embedded::keep(state, id, completion, commit);
  });
}

void EmbeddedStore::adopt(Completion<std::vector<AttachedJob>> done) {
  loop_.read(std::move(done), [](State& state) { return embedded::adopt(state); });
}

// --- DaemonStore

void EmbeddedStore::register_model(ModelRegistration model, Completion<ModelRegistered> done) {
  loop_.read(std::move(done), [hash = std::move(model.content_hash)](State&) {
    return Result<ModelRegistered>(ModelRegistered{true, hash});
  });
}

void EmbeddedStore::claim(ClaimRequest request, Completion<std::vector<Job>> done) {
  loop_.run(std::move(done), [request = std::move(request)](State& state, const auto& completion) {
    embedded::claim(state, request, completion);
  });
}

void EmbeddedStore::finish(std::vector<FinishItem> items,
                           Completion<std::vector<FinishAnswer>> done) {
  auto shared = std::make_shared<std::vector<FinishItem>>(std::move(items));
  loop_.write(std::move(done), [shared](State& state, const auto& completion, Commit& commit) {
    return embedded::finish(state, *shared, completion, commit);
  });
}

void EmbeddedStore::release(std::vector<ReleaseItem> items,
                            Completion<std::vector<ReleaseAnswer>> done) {
  loop_.write(std::move(done),
              [items = std::move(items)](State& state, const auto& completion, Commit& commit) {
                return embedded::release(state, items, completion, commit);
              });
}

void EmbeddedStore::note_deaths(DeathReport report, Completion<DeathsAnswer> done) {
  loop_.write(std::move(done),
              [report = std::move(report)](State& state, const auto& completion, Commit& commit) {
                return embedded::note_deaths(state, report, completion, commit);
              });
}

void EmbeddedStore::purge(Completion<PurgeAnswer> done) {
  auto deadlines_missed = std::make_shared<int64_t>(0);
  loop_.write(std::move(done),
              [deadlines_missed](State& state, const auto& completion, Commit& commit) {
                return embedded::purge(state, *deadlines_missed, completion, commit);
              });
}

// --- RocksDbOutbox

void EmbeddedStore::read_outbox(size_t messages_max, size_t bytes_max,
                                Completion<OutboxPage> done) {
  loop_.read(std::move(done), [messages_max, bytes_max](State& state) {
    return embedded::read_outbox(state, messages_max, bytes_max);
  });
}

void EmbeddedStore::drop_delivered(uint64_t through, Completion<int64_t> done) {
  loop_.write(std::move(done), [through](State& state, const auto& completion, Commit& commit) {
    return embedded::drop_delivered(state, through, completion, commit);
  });
}

void EmbeddedStore::find_message(JobId id, Completion<std::optional<MessagePlace>> done) {
  loop_.read(std::move(done), [id](State& state) { return embedded::find_message(state, id); });
}

void EmbeddedStore::forget_requests(std::vector<RequestPlace> places, Completion<int64_t> done) {
  loop_.write(std::move(done),
              [places = std::move(places)](State& state, const auto& completion, Commit& commit) {
                return embedded::forget_requests(state, places, completion, commit);
              });
}

void RocksDbOutbox::read(size_t messages_max, size_t bytes_max, Completion<OutboxPage> done) {
  store_.read_outbox(messages_max, bytes_max, std::move(done));
}
void RocksDbOutbox::drop_delivered(uint64_t through, Completion<int64_t> done) {
  store_.drop_delivered(through, std::move(done));
}
void RocksDbOutbox::find_message(JobId id, Completion<std::optional<MessagePlace>> done) {
  store_.find_message(id, std::move(done));
}
void RocksDbOutbox::forget_requests(std::vector<RequestPlace> places, Completion<int64_t> done) {
  store_.forget_requests(std::move(places), std::move(done));
}

// --- opening

Result<OpenedOutbox> open_rocksdb_store_with_outbox(RocksDbStoreOptions options, Clock& clock) {
  PARKD_CHECK(options.outbox_filled != nullptr, "an outbox without outbox_filled");
  auto store = std::make_unique<EmbeddedStore>(std::move(options), RocksDbTesting{}, clock);
  PARKD_RETURN_IF_ERROR(store->start());
  RocksDbOutbox outbox(*store, store->outbox_identity());
  return OpenedOutbox{std::move(store), std::move(outbox)};
}

Result<std::unique_ptr<JobStore>> open_rocksdb_store_for_test(RocksDbStoreOptions options,
                                                              RocksDbTesting testing,
                                                              Clock& clock) {
  auto store = std::make_unique<EmbeddedStore>(std::move(options), testing, clock);
  PARKD_RETURN_IF_ERROR(store->start());
  return std::unique_ptr<JobStore>(std::move(store));
}

Result<std::unique_ptr<JobStore>> open_rocksdb_store(RocksDbStoreOptions options, Clock& clock) {
  return open_rocksdb_store_for_test(std::move(options), {}, clock);
}

}  // namespace parkd
