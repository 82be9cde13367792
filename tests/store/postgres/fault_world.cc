#include "tests/store/postgres/fault_world.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

std::filesystem::path new_directory() {
  std::string name = "/tmp/parkd-fault.XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  return name;
}

// A statement that counts what should not be there, and its words. Each is one snapshot.
struct Check {
  const char* finding;
  const char* count;
};

constexpr Check kAlways[] = {
    {"jobs with a message and a live row, or two messages",
     "SELECT count(*) FROM (SELECT id FROM (SELECT job_id AS id FROM parkd.mailbox UNION ALL "
     "SELECT id FROM parkd.jobs) x GROUP BY id HAVING count(*) > 1) y"},
    {"messages without their history row of the same lease",
     "SELECT count(*) FROM parkd.mailbox m LEFT JOIN parkd.history h ON h.job_id = m.job_id AND "
     "h.run_lease = m.run_lease AND h.sequence = m.sequence WHERE h.job_id IS NULL"},
    {"results of another job",
     "SELECT count(*) FROM parkd.mailbox WHERE outcome = 'completed' AND body #>> "
     "'{choices,0,message,content}' IS DISTINCT FROM custom_id"},
    {"batches whose counters are not the number of rows",
     "SELECT count(*) FROM parkd.batches b CROSS JOIN LATERAL (SELECT count(*) AS n, count(*) "
     "FILTER (WHERE outcome = 'completed') AS completed, count(*) FILTER (WHERE outcome = "
     "'failed') AS failed, count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled FROM "
     "parkd.history WHERE batch_id = b.id) h WHERE (b.total, b.completed, b.failed, b.cancelled, "
     "b.deadline_missed, b.quarantined) <> (h.n + (SELECT count(*) FROM parkd.jobs j WHERE "
     "j.batch_id = b.id), h.completed, h.failed, h.cancelled, 0, 0)"},
    {"batches that are finished and not, or the reverse",
     "SELECT count(*) FROM parkd.batches b WHERE (b.finished_at IS NOT NULL) <> (b.sealed_at IS "
     "NOT NULL AND NOT EXISTS (SELECT FROM parkd.jobs j WHERE j.batch_id = b.id))"},
    {"live jobs claimed by nobody, or by a daemon that never was",
     "SELECT count(*) FROM parkd.jobs j LEFT JOIN parkd.daemons d ON d.id = j.daemon_id WHERE "
     "(j.state = 'claimed') <> (d.id IS NOT NULL)"},
};

// At rest nothing of a job or of a dead process is left.
constexpr Check kAtRest[] = {
    {"live jobs", "SELECT count(*) FROM parkd.jobs"},
    {"idempotency keys of jobs that are not there",
     "SELECT count(*) FROM parkd.idempotency k WHERE NOT EXISTS (SELECT FROM parkd.history h WHERE "
     "h.job_id = k.job_id)"},
    {"waiters that are gone",
     "SELECT count(*) FROM parkd.waiters w LEFT JOIN parkd.daemons d ON d.id = w.daemon_id WHERE "
     "d.id IS NULL OR d.lost_at IS NOT NULL"},
    {"locks of finishes that ended",
     "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = "
     "'advisory' AND a.datname = current_database() AND a.state LIKE 'idle%'"},
    {"open transactions of nobody",
     "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE "
     "'idle in transaction%'"},
};

}  // namespace

int fault_rounds(int ci_rounds) {
  const char* times = std::getenv("PARKD_LONG");
  return times == nullptr ? ci_rounds : 10 * std::max(std::atoi(times), 1) * ci_rounds;
}

bool eventually(seconds limit, const std::function<bool()>& condition) {
  const auto give_up = steady_clock::now() + limit;
  for (;;) {
    try {
      if (condition()) return true;
    } catch (const pqxx::failure&) {  // the server may be coming back
    }
    if (steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(milliseconds(50));
  }
}

void server_control(const std::string& arguments) {
  const char* control = std::getenv("PG_SANDBOX_CTL");
  if (control == nullptr) throw std::runtime_error("run this through tools/pg_sandbox.sh");
  const std::string command = std::string(control) + " " + arguments + " >/dev/null 2>&1";
  if (std::system(command.c_str()) != 0) throw std::runtime_error(command + " failed");
}

// --- processes

Child::Child(std::vector<std::string> command, std::string log)
    : command_(std::move(command)), log_(std::move(log)) {
  start();
}

void Child::start() {
  // Whose clock shall jump before it listens to that, does not die of it: what is ignored here is
  // ignored there, until it has its handlers.
  ::signal(SIGUSR1, SIG_IGN);
  ::signal(SIGUSR2, SIG_IGN);
  pid_ = ::fork();
  if (pid_ != 0) return;
  const int log = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dup2(log, 2);
  std::vector<char*> arguments;
  for (std::string& word : command_) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

void Child::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

void Child::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

bool Child::stop(seconds limit) {
  if (pid_ <= 0) return true;
  ::kill(pid_, SIGTERM);
  const bool ended = eventually(limit, [&] { return ::waitpid(pid_, nullptr, WNOHANG) == pid_; });
  if (ended) {
    pid_ = 0;
  } else {
    kill();
  }
  return ended;
}

// --- the world

FaultWorld::FaultWorld(TestDatabase& database, Options options)
    : database_(database),
      options_(std::move(options)),
      seed_(std::random_device()()),
      random_(seed_),
      dir_(new_directory()),
      began_(steady_clock::now()),
      oracle_(dir_) {
  database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
  batch_ = database_.value("SELECT parkd.open_batch()");
  for (size_t i = 0; i < options_.n_daemons; ++i) start_daemon();
  for (size_t i = 0; i < options_.n_sql_submitters; ++i) start_submitter("sql");
  for (size_t i = 0; i < options_.n_keyed_submitters; ++i) start_submitter("keyed");
  for (size_t i = 0; i < options_.n_sql_users; ++i) start_submitter("user_sql");
  for (size_t i = 0; i < options_.n_verb_users; ++i) start_submitter("user_verbs");
}

FaultWorld::~FaultWorld() {
  daemons_.clear();
  submitters_.clear();
  if (testing::Test::HasFailure()) {
    std::printf("seed %u; journals and logs are kept in %s; the last words of each:\n", seed_,
                dir_.c_str());
    for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
      if (entry.path().extension() != ".log") continue;
      const std::vector<std::string> lines = read_journal(entry.path());
      if (!lines.empty()) {
        std::printf("  %s: %s\n", entry.path().stem().c_str(), lines.back().c_str());
      }
    }
    return;
  }
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

void FaultWorld::start_daemon() {
  const std::string name = "daemon" + std::to_string(daemons_.size());
  daemons_.push_back(std::make_unique<Child>(
      std::vector<std::string>{
          PARKD_DAEMON_CHILD, options_.daemon_dsn.empty() ? database_.dsn() : options_.daemon_dsn,
          path(name + ".finished"), std::to_string(options_.daemon_ttl.count())},
      path(name + ".log")));
}

void FaultWorld::start_submitter(const std::string& kind) {
  const std::string name = kind + std::to_string(n_names_++);
  const bool is_user = kind.rfind("user", 0) == 0;
  submitters_.push_back(std::make_unique<Child>(
      std::vector<std::string>{is_user ? PARKD_FAULT_USER : PARKD_FAULT_SUBMITTER,
                               options_.submit_dsn.empty() ? database_.dsn() : options_.submit_dsn,
                               path(name + ".submitted"), name, kind,
                               options_.into_a_batch ? batch_ : ""},
      path(name + ".log")));
}

void FaultWorld::replace_a_submitter() {
  const size_t which = random_() % submitters_.size();
  const std::string kind = submitters_[which]->command()[4];
  submitters_.erase(submitters_.begin() + static_cast<std::ptrdiff_t>(which));
  start_submitter(kind);
}

void FaultWorld::run_for(milliseconds time) const {
  std::this_thread::sleep_for(time);
}

bool FaultWorld::progress(int64_t n, seconds limit) {
  const auto finished = [&] { return database_.number("SELECT count(*) FROM parkd.history"); };
  const auto submitted = [&] {
    return database_.number(
        "SELECT (SELECT count(*) FROM parkd.history) + count(*) FROM "
        "parkd.jobs");
  };
  int64_t finished_then = -1;
  int64_t submitted_then = 0;
  return eventually(limit, [&] {
    if (finished_then < 0) {
      submitted_then = submitted();
      finished_then = finished();
    }
    return finished() >= finished_then + n && submitted() >= submitted_then + n;
  });
}

Oracle::Tally FaultWorld::check() {
  std::vector<std::string> findings;
  Oracle::Tally tally;
  if (!eventually(seconds(30), [&] {
        findings.clear();
        auto session = database_.connect();
        tally = oracle_.look(*session, findings);
        for (const Check& check : kAlways) {
          const int64_t n = database_.number(check.count);
          if (n != 0) findings.push_back(std::to_string(n) + " " + check.finding);
        }
        return true;
      })) {
    findings.push_back("the database could not be asked");
  }
  for (size_t i = 0; i < findings.size() && i < 10; ++i) ADD_FAILURE() << findings[i];
  EXPECT_LE(findings.size(), 10u) << "findings in all";
  return tally;
}

Oracle::Tally FaultWorld::settle(seconds limit) {
  for (const auto& submitter : submitters_) submitter->signal(SIGTERM);
  for (const auto& submitter : submitters_) {
    EXPECT_TRUE(submitter->stop(seconds(30))) << "a submitter hung";
  }
  const bool done =
      eventually(limit, [&] { return database_.number("SELECT count(*) FROM parkd.jobs") == 0; });
  EXPECT_TRUE(done) << "jobs stay: "
                    << database_.value(
                           "SELECT string_agg(concat_ws(' ', j.n, j.state, 'daemon', j.daemon_id, "
                           "w.state), ', ') FROM (SELECT state, daemon_id, count(*) AS n FROM "
                           "parkd.jobs GROUP BY 1, 2) j LEFT JOIN parkd.workers w ON w.id = "
                           "j.daemon_id");
  for (const Check& check : kAtRest) {
    int64_t n = 0;
    // A lost daemon's last trace goes with a pass of housekeeping, a dead client's with its
    // session.
    EXPECT_TRUE(eventually(seconds(20), [&] { return (n = database_.number(check.count)) == 0; }))
        << "at rest there are " << n << " " << check.finding;
  }
  const std::string finished =
      "SELECT count(*) FROM parkd.batches WHERE sealed_at IS NULL OR finished_at IS NULL";
  database_.run("SELECT parkd.seal_batch(id) FROM parkd.batches");
  EXPECT_EQ(database_.number(finished), 0) << "a sealed batch without live jobs is finished";
  return check();
}

void FaultWorld::expect_users_did_everything() {
  constexpr size_t kEnough = 5;
  EXPECT_TRUE(eventually(seconds(60), [&] {
    std::vector<std::string> ignored;  // check() looks at them
    const auto session = database_.connect();
    const Oracle::Tally tally = oracle_.look(*session, ignored);
    return std::min({tally.cancelled, tally.failed, tally.taken, tally.requeued}) >= kEnough;
  })) << "the users do not go on";
}

int64_t FaultWorld::reported(const std::string& word) const {
  int64_t sum = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
    if (entry.path().extension() != ".finished") continue;
    for (const std::string& line : read_journal(entry.path())) {
      std::istringstream fields(line);
      std::string first;
      int64_t n = 1;
      fields >> first;
      if (first != word) continue;
      if (!(fields >> n)) n = 1;
      sum += n;
    }
  }
  return sum;
}

void FaultWorld::report(const std::string& fault, int times, const Oracle::Tally& tally) const {
  const double spent = std::chrono::duration<double>(steady_clock::now() - began_).count();
  std::printf(
      "FAULT %-38s times %3d | acked %6zu in doubt %4zu messages %6zu taken %5zu failed %4zu "
      "cancelled %4zu requeued %4zu | doubles %zu lost %zu | finishes found done %4lld refused "
      "%4lld ownership lost %3lld | %5.1f s, seed %u\n",
      fault.c_str(), times, tally.acknowledged, tally.in_doubt, tally.messages, tally.taken,
      tally.failed, tally.cancelled, tally.requeued, tally.doubled, tally.lost,
      static_cast<long long>(reported("already")), static_cast<long long>(reported("lease_lost")),
      static_cast<long long>(reported("ownership_lost")), spent, seed_);
  std::fflush(stdout);
}

}  // namespace parkd
