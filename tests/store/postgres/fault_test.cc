// Several daemon processes on one real server, with fsync: killed, stopped for longer than their
// heartbeat, their sessions cut, the server crashed. The oracle is what the submitters were told.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "tests/store/postgres/test_database.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

bool eventually(seconds limit, const std::function<bool()>& condition) {
  const auto give_up = steady_clock::now() + limit;
  for (;;) {
    try {
      if (condition()) return true;
    } catch (const std::exception&) {  // the server may be coming back
    }
    if (steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(milliseconds(50));
  }
}

// A daemon process, started again by whoever killed it.
class Child {
 public:
  explicit Child(std::string dsn) : dsn_(std::move(dsn)) { start(); }
  ~Child() { kill(); }
  void start() {
    pid_ = ::fork();
    if (pid_ == 0) {
      const int null = ::open("/dev/null", O_WRONLY);
      ::dup2(null, 2);
      ::execl(PARKD_DAEMON_CHILD, PARKD_DAEMON_CHILD, dsn_.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
  }
  void signal(int number) const { ::kill(pid_, number); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  std::string dsn_;
  pid_t pid_ = 0;
};

// Submits by plain SQL and remembers what it was told.
struct Submitter {
  std::set<std::string> acknowledged;
  std::set<std::string> in_doubt;

  void run(const TestDatabase& database, const std::string& name, const std::string& batch,
           const std::atomic<bool>& stop) {
    std::unique_ptr<pqxx::connection> session;
    for (int i = 0; !stop; ++i) {
      const std::string id = name + "-" + std::to_string(i);
      bool sent = false;
      try {
        if (!session || !session->is_open()) session = database.connect();
        pqxx::nontransaction tx(*session);
        sent = true;
        tx.exec(
            "INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key, batch_id) VALUES ('m', "
            "'{}', '" +
            id + "', 'box', " + (i % 2 == 0 ? "'" + batch + "'" : "NULL") + ")");
        acknowledged.insert(id);
      } catch (const std::exception&) {
        if (sent) in_doubt.insert(id);
        session.reset();
        std::this_thread::sleep_for(milliseconds(20));
      }
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
};

TEST(PostgresFaults, nothing_acknowledged_is_lost_and_nothing_is_doubled) {
  const seconds duration(std::getenv("PARKD_LONG") != nullptr ? 300 : 15);
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  TestDatabase database;
  database.run("SELECT parkd.register_model_v1('m', '', 8192)");
  const std::string batch = database.value("SELECT parkd.open_batch()");
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 3; ++i) children.push_back(std::make_unique<Child>(database.dsn()));

  std::atomic<bool> stop{false};
  std::vector<Submitter> submitters(2);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < submitters.size(); ++i) {
    threads.emplace_back(
        [&, i] { submitters[i].run(database, "s" + std::to_string(i), batch, stop); });
  }

  std::map<std::string, int> done;
  const auto end = steady_clock::now() + duration;
  const std::string control =
      std::string(std::getenv("PG_SANDBOX_CTL")) + " restart -m immediate >/dev/null 2>&1";
  for (int round = 0; steady_clock::now() < end; ++round) {
    Child& child = *children[random() % children.size()];
    // Each kind at least once, then by chance; the crash of the server seldom: all wait for it.
    const unsigned what =
        round < 5 ? static_cast<unsigned>(round) * 2 : static_cast<unsigned>(random() % 9);
    if (what <= 1) {
      child.kill();
      child.start();
      ++done["SIGKILL"];
    } else if (what <= 3) {
      child.signal(SIGSTOP);
      std::this_thread::sleep_for(milliseconds(2600));  // the children's ttl is 2 s
      child.signal(SIGCONT);
      ++done["SIGSTOP longer than the ttl"];
    } else if (what <= 5 || what == 7) {
      try {
        database.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            "current_database() "
            "AND pid <> pg_backend_pid() AND application_name LIKE 'parkd-%' ORDER BY random() "
            "LIMIT 4");
        ++done["pg_terminate_backend"];
      } catch (const std::exception&) {
      }
    } else if (what == 6) {
      try {
        database.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
            "current_database() "
            "AND pid <> pg_backend_pid() AND application_name NOT LIKE 'parkd-%'");
        ++done["submitters cut"];
      } catch (const std::exception&) {
      }
    } else {
      ASSERT_EQ(std::system(control.c_str()), 0);
      ++done["immediate restart of the server"];
    }
    std::this_thread::sleep_for(milliseconds(random() % 300));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (const auto& [fault, n] : done) std::printf("%3d x %s\n", n, fault.c_str());

  ASSERT_TRUE(eventually(seconds(40),
                         [&] {
                           database.run("SELECT parkd.seal_batch('" + batch + "')");
                           return database.number("SELECT count(*) FROM parkd.jobs") == 0;
                         }))
      << database.value(
             "SELECT string_agg(concat_ws(' ', j.state, j.n, 'daemon', j.daemon_id, w.state), ', "
             "') FROM "
             "(SELECT state, daemon_id, count(*) AS n FROM parkd.jobs GROUP BY 1, 2) j "
             "LEFT JOIN parkd.workers w ON w.id = j.daemon_id");
  children.clear();

  std::map<std::string, int> messages;
  auto session = database.connect();
  pqxx::nontransaction tx(*session);
  for (const auto& row : tx.exec("SELECT custom_id FROM parkd.mailbox")) ++messages[row[0].c_str()];
  size_t n_acknowledged = 0;
  size_t n_in_doubt = 0;
  for (const Submitter& submitter : submitters) {
    n_acknowledged += submitter.acknowledged.size();
    n_in_doubt += submitter.in_doubt.size();
    for (const std::string& id : submitter.acknowledged)
      EXPECT_EQ(messages[id], 1) << id << " was acknowledged";
    for (const std::string& id : submitter.in_doubt)
      EXPECT_LE(messages[id], 1) << id << " was in doubt";
  }
  std::printf("%zu acknowledged, %zu in doubt, %zu messages\n", n_acknowledged, n_in_doubt,
              messages.size());
  EXPECT_GT(n_acknowledged, 100u) << "the submitters were hardly running";
  EXPECT_EQ(database.number("SELECT count(*) - count(DISTINCT job_id) FROM parkd.mailbox"), 0);
  EXPECT_EQ(database.number("SELECT count(*) FROM parkd.mailbox"),
            database.number("SELECT count(*) FROM parkd.history"));
  EXPECT_EQ(database.number(
                "SELECT count(*) FROM parkd.mailbox WHERE outcome <> 'completed' OR attempts <> 0"),
            0)
      << "deaths are nobody's fault";
  EXPECT_EQ(database.number("SELECT count(*) FROM parkd.mailbox m JOIN parkd.history h USING "
                            "(job_id) WHERE m.run_lease <> h.run_lease"),
            0);
  EXPECT_EQ(database.value("SELECT total || ' ' || completed || ' ' || (finished_at IS NOT NULL) "
                           "FROM parkd.batches"),
            database.value("SELECT count(*) || ' ' || count(*) || ' true' FROM parkd.mailbox WHERE "
                           "batch_id IS NOT NULL"));
}

}  // namespace
}  // namespace parkd
