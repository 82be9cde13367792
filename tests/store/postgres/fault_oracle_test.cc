// What the oracle of the fault tests finds: it is what every fault is held against.
#include "tests/store/postgres/fault_oracle.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/store/postgres/test_database.h"

namespace parkd {
namespace {

class FaultOracle : public testing::Test {
 protected:
  FaultOracle()
      : dir_(std::filesystem::temp_directory_path() / ("parkd-oracle-" + database_.name())) {
    std::filesystem::create_directory(dir_);
    database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
  }
  ~FaultOracle() override { std::filesystem::remove_all(dir_); }

  void told(std::initializer_list<std::string> lines) {
    const Journal journal((dir_ / "host.submitted").string());
    for (const std::string& line : lines) journal.write(line);
  }
  std::vector<std::string> findings(Oracle::Tally* tally = nullptr) {
    std::vector<std::string> found;
    const auto session = database_.connect();
    const Oracle::Tally all = Oracle(dir_).look(*session, found);
    if (tally != nullptr) *tally = all;
    return found;
  }
  // A job of this custom_id that ended; its number.
  std::string ended(const std::string& custom_id, const std::string& outcome) {
    const std::string id = database_.value(
        "INSERT INTO parkd.jobs (model, body, custom_id) VALUES "
        "('m', '{}', '" +
        custom_id + "') RETURNING id");
    const std::string daemon =
        database_.value("SELECT daemon_id FROM parkd.register_v1('h', 1, 'v', '1 day')");
    database_.run("SELECT f.answer FROM parkd.claim_v1(" + daemon +
                  ", 'm', 1000) c CROSS JOIN LATERAL parkd.finish_v1(ARRAY[c.id], "
                  "ARRAY[c.run_lease], ARRAY['" +
                  outcome +
                  "'], ARRAY['run_timeout'], ARRAY[''], "
                  "ARRAY[''], ARRAY[200], ARRAY['{}'], ARRAY[1], ARRAY[1], ARRAY[1::bigint], "
                  "ARRAY[1::bigint], ARRAY[1::bigint]) f");
    return id;
  }

  TestDatabase database_;
  const std::filesystem::path dir_;
};

TEST_F(FaultOracle, sees_what_is_lost_doubled_rolled_back_or_of_nobody) {
  told({"try kept", "ack kept", "try lost", "ack lost", "try twice", "ack twice", "try back",
        "never back", "try unknown", "refused bad why"});
  database_.run(
      "INSERT INTO parkd.jobs (model, body, custom_id) VALUES ('m', '{}', 'kept'), ('m', '{}', "
      "'twice'), ('m', '{}', 'twice'), ('m', '{}', 'back'), ('m', '{}', 'foreign')");
  Oracle::Tally tally;
  const std::vector<std::string> found = findings(&tally);
  EXPECT_EQ(tally.acknowledged, 3u);
  EXPECT_EQ(tally.in_doubt, 1u);
  EXPECT_EQ(tally.lost, 1u);
  EXPECT_EQ(tally.doubled, 1u);
  for (const char* finding :
       {"lost was acknowledged and is lost", "twice has 0 messages and 2 live rows",
        "back was rolled back and is there", "foreign is there and nobody submitted it",
        "refused bad why"}) {
    EXPECT_NE(std::find(found.begin(), found.end(), finding), found.end()) << finding;
  }
}

TEST_F(FaultOracle, sees_what_ended_otherwise_than_it_should) {
  told({"try a-0", "ack a-0", "try a-1f", "ack a-1f"});
  ended("a-0", "completed");
  ended("a-1f", "failed");
  EXPECT_EQ(findings(), std::vector<std::string>());
  told({"try a-2", "ack a-2", "try a-3", "ack a-3"});
  const std::string cancelled = ended("a-2", "cancelled");
  const std::string failed = ended("a-3", "failed");
  EXPECT_EQ(findings(),
            (std::vector<std::string>{
                "job " + cancelled + " (a-2) ended as cancelled and nobody asked for that",
                "job " + failed + " (a-3) ended as failed"}));
  told({"cancel " + cancelled, "cancelled " + cancelled, "cancelled " + failed});
  EXPECT_EQ(findings(), (std::vector<std::string>{
                            "job " + failed + " (a-3) was answered to be cancelled and is failed",
                            "job " + failed + " (a-3) ended as failed"}));
}

TEST_F(FaultOracle, sees_a_message_that_is_gone_taken_twice_or_still_there) {
  told({"try a-0", "ack a-0", "try a-1", "ack a-1"});
  const std::string gone = ended("a-0", "completed");
  const std::string there = ended("a-1", "completed");
  database_.run("DELETE FROM parkd.mailbox WHERE job_id = " + gone);
  told({"taking " + there, "took " + there});
  EXPECT_EQ(findings(), (std::vector<std::string>{
                            "the message of job " + gone + " (a-0) is gone and nobody took it",
                            "the message of job " + there + " (a-1) was taken and is there"}));
  told({"taking " + gone, "took " + gone, "took " + gone});
  EXPECT_EQ(findings(), (std::vector<std::string>{
                            "the message of job " + there + " (a-1) was taken and is there",
                            "job " + gone + " was taken twice"}));
}

TEST_F(FaultOracle, sees_a_requeued_job_that_became_none_or_another) {
  told({"try a-0f", "ack a-0f"});
  const std::string first = ended("a-0f", "failed");
  const std::string second =
      database_.value("SELECT id FROM parkd.requeue(ARRAY[" + first + "]::bigint[])");
  told({"requeued " + first + " " + second});
  EXPECT_EQ(findings(), std::vector<std::string>());
  told({"requeued " + first + " 77"});
  EXPECT_EQ(findings(), (std::vector<std::string>{"job " + first + " was requeued as " + second +
                                                  " and as 77"}));
  database_.run("DELETE FROM parkd.jobs");
  EXPECT_EQ(findings().at(1),
            "job " + first + " (a-0f) was requeued as " + second + ", which is lost");
}

TEST_F(FaultOracle, sees_a_batch_that_is_open_again) {
  const std::string batch = database_.value("SELECT parkd.open_batch()");
  told({"sealed " + batch});
  EXPECT_EQ(findings(), (std::vector<std::string>{"batch " + batch +
                                                  " was answered to be sealed and is open"}));
  database_.run("SELECT parkd.seal_batch('" + batch + "')");
  EXPECT_EQ(findings(), std::vector<std::string>());
}

}  // namespace
}  // namespace parkd
