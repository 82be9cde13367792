// jobctl store verify|open-anyway|acknowledge: the embedded store of a stopped daemon, when its
// files are damaged.
#include <filesystem>
#include <iostream>

#include "lib/ipc/instance_lock.h"
#include "lib/store/rocksdb/offline.h"
#include "tools/jobctl/commands.h"

namespace parkd::jobctl {
namespace {

// The store, with the daemon kept out as long as this lives.
struct StoppedStore {
  std::optional<InstanceLock> instance;
  OfflineStore store;
};

Result<StoppedStore> open_stopped(const std::string& dir) {
  PARKD_ASSIGN_OR_RETURN(const std::string place, find_store_dir(dir));
  std::optional<InstanceLock> instance;
  std::error_code none;
  const std::filesystem::path state_dir = std::filesystem::absolute(place, none).parent_path();
  if (std::filesystem::exists(state_dir / "parkd.lock", none)) {
    PARKD_ASSIGN_OR_RETURN(InstanceLock lock, InstanceLock::acquire(state_dir.string()));
    instance.emplace(std::move(lock));
  }
  PARKD_ASSIGN_OR_RETURN(OfflineStore store, OfflineStore::open(place));
  return StoppedStore{std::move(instance), std::move(store)};
}

int verify(const std::string& dir) {
  auto opened = open_stopped(dir);
  if (!opened.ok()) return report(opened.status());
  OfflineStore* const store = &opened->store;
  const auto found = store->verify();
  if (!found.ok()) return report(found.status());
  std::cout << "log: " << found->log.n_commits << " commits in " << found->log.n_logs
            << " files\ntables: " << found->n_tables << " files, " << found->n_rows << " rows\n";
  if (!found->log.mark_unusable.empty()) {
    std::cout << "SYNCED cannot be used (" << found->log.mark_unusable
              << "): the loss of the last commit alone would not be seen\n";
  }
  if (found->log.tail) {
    std::cout << "unsynced end: " << found->log.tail->file << " from offset "
              << found->log.tail->offset << ", never acknowledged; the next start drops it\n";
  }
  if (found->log.loss) std::cout << "LOST: " << found->log.loss->summary() << "\n";
  for (const DamagedTable& table : found->tables) {
    std::cout << "DAMAGED: " << table.file << " (" << table.family << "): " << table.what << "\n";
  }
  if (found->is_whole()) {
    std::cout << "whole\n";
    return kExitOk;
  }
  if (found->log.loss && found->log.loss->in_log) {
    std::cout << "`jobctl store open-anyway " << store->dir()
              << "` lets the next start go on without what the log has lost\n";
  }
  return kExitRefused;
}

int open_anyway(const std::string& dir) {
  auto opened = open_stopped(dir);
  if (!opened.ok()) return report(opened.status());
  OfflineStore* const store = &opened->store;
  const auto accepted = store->accept_loss();
  if (!accepted.ok()) return report(accepted.status());
  std::cout << "The next start of parkd goes on without it: " << *accepted
            << ". Jobs whose end was lost run again; job ids and cursors go on 4294967296 later.\n"
               "It stays in /readyz until `jobctl store acknowledge "
            << store->dir() << "`.\n";
  return kExitOk;
}

// Of a running daemon too: it is one file that goes.
int acknowledge(const std::string& dir) {
  const auto store = find_store_dir(dir);
  if (!store.ok()) return report(store.status());
  const std::string lost = wal::accepted_loss(*store);
  if (const Status status = wal::acknowledge_loss(*store); !status.ok()) return report(status);
  std::cout << "acknowledged: " << lost << "\n";
  return kExitOk;
}

}  // namespace

void add_store(CLI::App& app, Chosen& chosen) {
  CLI::App* store = app.add_subcommand(
      "store", "The embedded store of a stopped parkd, when its files are damaged");
  store->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, int (*run)(const std::string&)) {
    auto dir = std::make_shared<std::string>();
    CLI::App* command = store->add_subcommand(name, what);
    command->add_option("DIR", *dir, "The state directory, or the store in it")->required();
    command->callback([&chosen, dir, run] { chosen = [dir, run] { return run(*dir); }; });
  };
  add("verify", "Read everything and say what is damaged; exits 4 when something is", verify);
  add("open-anyway", "Let the next start go on, once, without what the log has lost", open_anyway);
  add("acknowledge", "End the notice of an accepted loss in /readyz", acknowledge);
}

}  // namespace parkd::jobctl
