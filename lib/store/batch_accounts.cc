#include "lib/store/batch_accounts.h"

namespace parkd {
namespace {

constexpr int64_t kBytesOfOne = 1024;  // a batch without its texts, and what finds it

int64_t bytes_of(const BatchSpec& spec) {
  const size_t webhook = spec.file ? spec.file->webhook_url.size() : 0;
  return kBytesOfOne +
         static_cast<int64_t>(spec.tenant.size() + spec.name.size() + spec.metadata.size() +
                              spec.idempotency_key.size() + webhook);
}

int64_t bytes_of(const Batch& batch) {
  int64_t bytes = bytes_of(batch.spec) + static_cast<int64_t>(batch.webhook.last_error.size());
  for (const BatchFault& fault : batch.progress.faults) {
    bytes += static_cast<int64_t>(sizeof fault + fault.message.size() + fault.param.size());
  }
  return bytes;
}

Status too_many_bytes(const std::string& whose, int64_t held, int64_t more, int64_t limit) {
  return exhausted("the batches " + whose + " that are remembered take " + std::to_string(held) +
                   " bytes and would take " + std::to_string(more) + " more, the limit is " +
                   std::to_string(limit) +
                   ": give less metadata, wait until finished ones are forgotten "
                   "(daemon.history_days after their last message), or let the administrator "
                   "raise daemon.max_batches_bytes, of which a tenant may have half");
}

}  // namespace

Status too_many_batches(std::string_view tenant, int64_t n_unfinished, int64_t limit) {
  return exhausted("tenant \"" + std::string(tenant) + "\" has " + std::to_string(n_unfinished) +
                   " batches that are not finished, the limit is " + std::to_string(limit) +
                   " a tenant: seal or cancel some, or let the administrator raise "
                   "daemon.max_open_batches");
}

void BatchAccounts::change(const Batch& batch, int64_t sign) {
  const int64_t bytes = sign * bytes_of(batch);
  bytes_ += bytes;
  const auto account = tenants_.try_emplace(batch.spec.tenant).first;
  account->second.bytes += bytes;
  if (!batch.finished_at) account->second.n_unfinished += sign;
  if (account->second.bytes == 0) tenants_.erase(account);
}

BatchAccounts::Account BatchAccounts::of(const std::string& tenant) const {
  const auto found = tenants_.find(tenant);
  return found == tenants_.end() ? Account() : found->second;
}

Status BatchAccounts::check_open(const BatchSpec& spec, const BatchAccounts& beside,
                                 const StoreOptions& options) const {
  Account account = of(spec.tenant);
  account.n_unfinished += beside.of(spec.tenant).n_unfinished;
  account.bytes += beside.of(spec.tenant).bytes;
  if (account.n_unfinished >= options.open_batches_max) {
    return too_many_batches(spec.tenant, account.n_unfinished, options.open_batches_max);
  }
  const int64_t more = bytes_of(spec);
  if (account.bytes + more > options.batches_bytes_max / 2) {
    return too_many_bytes("of tenant \"" + spec.tenant + "\"", account.bytes, more,
                          options.batches_bytes_max / 2);
  }
  const int64_t of_all = bytes_ + beside.bytes_;
  if (of_all + more > options.batches_bytes_max) {
    return too_many_bytes("of all tenants", of_all, more, options.batches_bytes_max);
  }
  return {};
}

}  // namespace parkd
