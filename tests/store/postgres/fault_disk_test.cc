// The disk is full, for real: the tables, or the write-ahead log, lie on a small file system
// (PG_SANDBOX_DISK, a tmpfs) that the test fills up to ENOSPC while daemons and submitters are at
// work. Nothing that was acknowledged is lost, what could not be stored was said so, and work goes
// on by itself once there is room.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/store/postgres/fault_world.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string setting_of(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error("run this through tools/pg_sandbox.sh");
  return value;
}

// Takes all that is free on the small disk until it is destroyed.
class Ballast {
 public:
  Ballast() : path_(setting_of("PG_SANDBOX_DISK_DIR") + "/ballast") {
    const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT, 0644);
    const std::string block(65536, 'x');
    for (size_t size = block.size(); size >= 4096;) {
      if (::write(file, block.data(), size) < 0) {
        if (errno != ENOSPC) throw std::runtime_error("the disk fails in another way");
        size /= 2;
      }
    }
    ::close(file);
  }
  ~Ballast() { std::filesystem::remove(path_); }
  Ballast(const Ballast&) = delete;
  Ballast& operator=(const Ballast&) = delete;

 private:
  const std::string path_;
};

// How often the server has met ENOSPC.
int64_t n_refusals() {
  std::ifstream log(setting_of("PG_SANDBOX_LOG"));
  int64_t n = 0;
  for (std::string line; std::getline(log, line);) {
    n += line.find("No space left on device") != line.npos;
  }
  return n;
}

void as_owner(const std::string& command) {
  const std::string whole = setting_of("PG_SANDBOX_AS") + " " + command;
  if (std::system(whole.c_str()) != 0) throw std::runtime_error(whole + " failed");
}

class PostgresDisk : public testing::Test {
 protected:
  const std::string disk_ = setting_of("PG_SANDBOX_DISK_DIR");
  TestDatabase database_;
};

TEST_F(PostgresDisk, full_under_the_tables_loses_nothing_and_heals_when_there_is_room) {
  as_owner("mkdir -p " + disk_ + "/tables");
  {
    pqxx::connection connection("dbname=postgres");
    pqxx::nontransaction tx(connection);
    tx.exec("CREATE TABLESPACE small LOCATION '" + disk_ + "/tables'");
    tx.exec("ALTER DATABASE " + database_.name() + " SET TABLESPACE small");
  }
  {
    FaultWorld world(database_, {});
    SCOPED_TRACE("seed " + std::to_string(world.seed()));
    ASSERT_TRUE(world.progress(100)) << "no load";
    const int rounds = fault_rounds(2);
    for (int round = 0; round < rounds; ++round) {
      const int64_t before = n_refusals();
      {
        const Ballast ballast;
        EXPECT_TRUE(eventually(seconds(60), [&] { return n_refusals() >= before + 3; }))
            << "the disk was never full";
        world.run_for(milliseconds(world.random()() % 1000));
        world.check();
      }
      EXPECT_TRUE(world.progress(100)) << "work does not go on";
    }
    world.check();
    world.report("disk full under the tables", rounds, world.settle());
  }
}

TEST_F(PostgresDisk, full_under_the_log_stops_the_server_and_loses_nothing) {
  const std::string log = setting_of("PG_SANDBOX_DATA") + "/pg_wal";
  server_control("stop -m fast");
  as_owner("mv " + log + " " + disk_ + "/wal");
  as_owner("ln -s " + disk_ + "/wal " + log);
  server_control("start");
  ASSERT_TRUE(eventually(seconds(30), [&] { return database_.number("SELECT 1") == 1; }));
  FaultWorld world(database_, {});
  SCOPED_TRACE("seed " + std::to_string(world.seed()));
  ASSERT_TRUE(world.progress(100)) << "no load";
  const int rounds = fault_rounds(2);
  for (int round = 0; round < rounds; ++round) {
    const int64_t before = n_refusals();
    {
      const Ballast ballast;
      EXPECT_TRUE(eventually(seconds(60), [&] {
        if (n_refusals() > before) return true;
        database_.run("SELECT pg_switch_wal()");  // the present segment lasts for too long
        return false;
      })) << "the log was never full";
      world.run_for(milliseconds(world.random()() % 1000));
    }
    // The server has stopped with PANIC: an administrator makes room and starts it, if it has not
    // come back by itself.
    try {
      server_control("start");
    } catch (const std::exception&) {
    }
    EXPECT_TRUE(world.progress(100)) << "work does not go on";
    world.check();
  }
  world.report("disk full under the log", rounds, world.settle());
}

}  // namespace
}  // namespace parkd
