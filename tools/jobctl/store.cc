// jobctl store verify|salvage|open-anyway|acknowledge: the embedded store of a stopped daemon, when
// its files are damaged.
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "lib/base/clock.h"
#include "lib/ipc/instance_lock.h"
#include "lib/store/rocksdb/offline.h"
#include "lib/store/rocksdb/salvage.h"
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
  std::cout << "`jobctl store salvage " << store->dir()
            << " --to DIR` writes what can be read to a fresh store and lists what is gone\n";
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

// --- salvage

struct SalvageOptions {
  std::string dir;
  std::string to;
  std::string report;
  bool replace = false;
};

boost::json::object line_of(const SalvageFinding& finding) {
  boost::json::object line;
  line["what"] = finding.what;
  const auto put_text = [&line](const char* name, const std::string& value) {
    if (!value.empty()) line[name] = value;
  };
  const auto put_number = [&line](const char* name, const std::optional<uint64_t>& value) {
    if (value) line[name] = *value;
  };
  put_number("id", finding.id);
  put_number("first_id", finding.first_id);
  put_number("last_id", finding.last_id);
  put_number("sequence", finding.sequence);
  put_number("first_sequence", finding.first_sequence);
  put_number("last_sequence", finding.last_sequence);
  put_text("tenant", finding.tenant);
  put_text("mailbox_key", finding.mailbox_key);
  put_text("batch_id", finding.batch_id);
  put_text("file", finding.file);
  put_text("family", finding.family);
  put_number("offset", finding.offset);
  put_number("bytes", finding.n_bytes);
  line["text"] = finding.text;
  return line;
}

// The list: all of it as JSON lines, or its first lines for people.
class SalvageList {
 public:
  // Errors: invalid (the file cannot be made).
  Status open(const std::string& report) {
    if (report.empty() || report == "-") {
      is_json_ = report == "-";
      return {};
    }
    file_.open(report, std::ios::trunc);
    is_json_ = true;
    is_file_ = true;
    return file_ ? Status() : invalid_param("report", "cannot write " + report);
  }
  void add(const SalvageFinding& finding) {
    ++n_lines_;
    const boost::json::object line = line_of(finding);
    if (is_json_) {
      (is_file_ ? file_ : std::cout) << boost::json::serialize(line) << "\n";
    } else if (n_lines_ <= kShown) {
      std::cout << finding.what;
      for (const auto& [name, value] : line) {
        if (name == "what" || name == "text") continue;
        std::cout << " " << name << "=";
        value.is_string() ? std::cout << value.get_string().c_str() : std::cout << value;
      }
      std::cout << ": " << finding.text << "\n";
    }
  }
  // Errors: unavailable (a line was not written).
  Status close() {
    if (is_file_) file_.close();
    if (!is_json_ && n_lines_ > kShown) {
      std::cout << "... and " << n_lines_ - kShown << " lines more: --report FILE has all\n";
    }
    return is_file_ && !file_ ? unavailable("the report is not whole: the disk is full?")
                              : Status();
  }
  // Where people are spoken to.
  std::ostream& talk() const { return is_json_ && !is_file_ ? std::cerr : std::cout; }

 private:
  static constexpr int64_t kShown = 40;
  std::ofstream file_;
  bool is_json_ = false;
  bool is_file_ = false;
  int64_t n_lines_ = 0;
};

int salvage_store(const SalvageOptions& options) {
  if (options.to.empty() && !options.replace) {
    return report(invalid_param("to",
                                "say where the fresh store is to be made: --to DIR, or "
                                "--replace for the place of the old one"));
  }
  auto opened = open_stopped(options.dir);
  if (!opened.ok()) return report(opened.status());
  const std::string store = opened->store.dir();
  SalvageList list;
  if (const Status status = list.open(options.report); !status.ok()) return report(status);
  SystemClock clock;
  const std::string to = options.to.empty() ? store + ".salvaged" : options.to;
  const auto summary = salvage(opened->store, to, clock,
                               [&list](const SalvageFinding& finding) { list.add(finding); });
  const Status listed = list.close();
  if (!summary.ok()) return report(summary.status());
  list.talk() << "salvaged: " << summary->n_jobs << " jobs, " << summary->n_messages << " results, "
              << summary->n_history << " history rows, " << summary->n_keys << " idempotency keys, "
              << summary->n_batches << " batches\n"
              << (summary->is_whole() ? "nothing was damaged" : "GONE: " + summary->text()) << "\n"
              << "the fresh store is " << summary->store << "; nothing of " << store
              << " was changed\n";
  if (options.replace) {
    const auto kept = put_in_place(store, to, clock);
    if (!kept.ok()) return report(kept.status());
    list.talk() << "it is in place as " << store << "; the damaged one is " << *kept << "\n";
  } else {
    list.talk() << "to use it, with parkd stopped: mv " << store << " " << store
                << ".damaged && mv " << summary->store << " " << store << "\n";
  }
  return listed.ok() ? kExitOk : report(listed);
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
  auto options = std::make_shared<SalvageOptions>();
  CLI::App* salvage = store->add_subcommand(
      "salvage", "Write what can be read to a fresh store, and list what is gone");
  salvage->add_option("DIR", options->dir, "The state directory, or the store in it")->required();
  salvage->add_option("--to", options->to,
                      "Where the fresh store is made; missing or empty (with --replace: beside "
                      "the old one)");
  salvage->add_flag("--replace", options->replace,
                    "Then put it in the old one's place, which is kept as ....damaged-TIME");
  salvage->add_option("--report", options->report, "All that is gone as JSON lines; - is stdout");
  salvage->callback([&chosen, options] { chosen = [options] { return salvage_store(*options); }; });
  add("open-anyway", "Let the next start go on, once, without what the log has lost", open_anyway);
  add("acknowledge", "End the notice of an accepted loss in /readyz", acknowledge);
}

}  // namespace parkd::jobctl
