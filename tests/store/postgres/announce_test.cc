// What is announced by NOTIFY, and who learns what from it: every login of a database hears it all.
#include <map>
#include <regex>
#include <set>

#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

// RFC 4231, sections 4.2 to 4.8.
TEST_F(PostgresStoreTest, hmac_sha256_is_that_of_rfc_4231) {
  const auto repeated = [](const char* byte, int n) {
    std::string hex;
    for (int i = 0; i < n; ++i) hex += byte;
    return "decode('" + hex + "', 'hex')";
  };
  const auto text = [](const std::string& words) { return "convert_to('" + words + "', 'UTF8')"; };
  const std::tuple<std::string, std::string, std::string> kCases[] = {
      {repeated("0b", 20), text("Hi There"),
       "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {text("Jefe"), text("what do ya want for nothing?"),
       "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {repeated("aa", 20), repeated("dd", 50),
       "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {"decode('0102030405060708090a0b0c0d0e0f10111213141516171819', 'hex')", repeated("cd", 50),
       "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      {repeated("0c", 20), text("Test With Truncation"), "a3b6167473100ee06e0c796c2955552b"},
      {repeated("aa", 131), text("Test Using Larger Than Block-Size Key - Hash Key First"),
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {repeated("aa", 131),
       text("This is a test using a larger than block-size key and a larger than block-size data. "
            "The key needs to be hashed before being used by the HMAC algorithm."),
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
  };
  for (const auto& [key, message, expected] : kCases) {
    const std::string digest =
        database_.value("SELECT encode(parkd.hmac_v1(" + key + ", " + message + "), 'hex')");
    EXPECT_EQ(digest.substr(0, expected.size()), expected) << message;
  }
}

class Receiver final : public pqxx::notification_receiver {
 public:
  Receiver(pqxx::connection& connection, const std::string& channel)
      : pqxx::notification_receiver(connection, channel) {}
  void operator()(const std::string& payload, int) override { heard.push_back(payload); }
  size_t heard_of(pqxx::connection& connection) {
    connection.get_notifs();
    return heard.size();
  }
  std::vector<std::string> heard;
};

// A login without any role, which listens to all channels that anything of ours sends to.
class Outsider {
 public:
  explicit Outsider(TestDatabase& database) {
    database.run(
        "DO $$ BEGIN CREATE ROLE outsider LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END "
        "$$");
    session_ = database.connect("outsider");
    const std::string sources = database.value(
        "SELECT string_agg(prosrc, ' ') FROM pg_proc WHERE pronamespace = 'parkd'::regnamespace");
    const std::regex sent(R"(pg_notify\('(\w+)')");
    for (std::sregex_iterator at(sources.begin(), sources.end(), sent), end; at != end; ++at) {
      const std::string channel = (*at)[1];
      if (!ears_.contains(channel)) {
        ears_[channel] = std::make_unique<Receiver>(*session_, channel);
      }
    }
  }
  ~Outsider() { ears_.clear(); }

  std::vector<std::string> channels() const {
    std::vector<std::string> all;
    for (const auto& [channel, ear] : ears_) all.push_back(channel);
    return all;
  }
  const std::vector<std::string>& heard(const std::string& channel) {
    session_->get_notifs();
    return ears_.at(channel)->heard;
  }
  pqxx::connection& session() { return *session_; }

 private:
  std::unique_ptr<pqxx::connection> session_;
  std::map<std::string, std::unique_ptr<Receiver>> ears_;
};

class Announcements : public PostgresStoreTest {
 protected:
  Announcements() {
    database_.run("UPDATE parkd.settings SET notify_results = true");
    database_.run("INSERT INTO parkd.models (name) VALUES ('m')");
    for (const char* login : {"alice parkd_submitter", "bob parkd_submitter", "rita parkd_reader",
                              "anna parkd_admin"}) {
      const std::string pair = login;
      const size_t space = pair.find(' ');
      database_.run("DO $$ BEGIN CREATE ROLE " + pair.substr(0, space) + " LOGIN IN ROLE " +
                    pair.substr(space + 1) + "; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    }
  }
  std::string value(const std::string& login, const std::string& sql) {
    const auto session = database_.connect(login);
    pqxx::nontransaction tx(*session);
    return tx.exec(sql)[0][0].c_str();
  }
  std::string payload(const std::string& login, const std::string& key) {
    return value(login, "SELECT parkd.results_payload('" + key + "')");
  }
  void finish(StoreRig& daemon, const Job& job) {
    const auto done = daemon.driver->finish({{job.id, job.lease, ending("{}")}});
    ASSERT_TRUE(done.ok()) << done.status().to_string();
  }
};

TEST_F(Announcements, tell_an_outsider_nothing_of_anybodys) {
  Outsider outsider(database_);
  EXPECT_EQ(outsider.channels(),
            (std::vector<std::string>{"parkd_cancel", "parkd_results", "parkd_work"}))
      << "a new channel: what does it say to strangers?";
  StoreRig daemon(quiet_options(database_.dsn()));
  database_.run("INSERT INTO parkd.waiters VALUES ('m', 1)");  // else submits are not announced
  JobSpec given = spec("tenant-of-alice");
  given.mailbox_key = "alices-private-box";
  given.custom_id = "alices-order";
  for (int i = 0; i < 4; ++i) {
    if (i == 2) {
      BatchSpec batch;
      batch.tenant = given.tenant;
      given.batch_id = daemon.driver->open_batch(batch)->batch.id;
    }
    const auto submitted = daemon.driver->submit({given});
    ASSERT_TRUE(submitted.ok()) << submitted.status().to_string();
  }
  const auto jobs = daemon.driver->claim("m", 4);
  ASSERT_EQ(jobs->size(), 4u);
  const auto cancelled = daemon.driver->cancel((*jobs)[1].id, "");
  EXPECT_EQ(*cancelled, CancelAnswer::cancel_requested);
  ASSERT_TRUE(daemon.driver->cancel_batch(given.batch_id, "").ok());
  for (const Job& job : *jobs) ASSERT_NO_FATAL_FAILURE(finish(daemon, job));
  database_.run(
      "SELECT parkd.open_outbox_v1('00000000-0000-0000-0000-000000000001', 1, "
      "'00000000-0000-0000-0000-000000000002', 1, 'h')");
  database_.run(
      "SELECT parkd.deliver_v1('00000000-0000-0000-0000-000000000001', "
      "'00000000-0000-0000-0000-000000000002', '{1}', '{1}', '{1}', ARRAY[n], ARRAY[n], ARRAY[n + "
      "3600000000], '{1}', '{1}', '{1}', '{1}', '{1}', '{200}', '{1}', '{completed}', "
      "'{tenant-of-alice}', '{alices-private-box}', '{m}', '{alices-order}', '{\"\"}', '{\"\"}', "
      "'{\"\"}', '{\"\"}', '{\"\"}', '{\"{}\"}') FROM (SELECT parkd.us_v1(now())) t(n)");

  EXPECT_TRUE(eventually([&] { return outsider.heard("parkd_results").size() == 5; }));
  EXPECT_FALSE(outsider.heard("parkd_work").empty());
  for (const std::string& heard : outsider.heard("parkd_work")) EXPECT_EQ(heard, "m");
  EXPECT_FALSE(outsider.heard("parkd_cancel").empty());
  for (const std::string& heard : outsider.heard("parkd_cancel")) {
    EXPECT_EQ(heard, std::to_string(daemon.driver->stats()->open_epoch))
        << "which daemon's, no more";
  }
  for (const std::string& heard : outsider.heard("parkd_results")) {
    EXPECT_TRUE(std::regex_match(heard, std::regex("[0-9a-f]{32}"))) << heard;
  }
  // Not what one could compute without the secret.
  const std::string key = "'alices-private-box'", tenant = "'tenant-of-alice'";
  for (const std::string& guess :
       {key, tenant + " || " + key, tenant + " || ' ' || " + key, key + " || " + tenant}) {
    for (const std::string& hash :
         {"encode(sha256(convert_to(" + guess + ", 'UTF8')), 'hex')", "md5(" + guess + ")",
          "encode(parkd.hmac_v1(convert_to(" + tenant + ", 'UTF8'), convert_to(" + guess +
              ", 'UTF8')), 'hex')"}) {
      EXPECT_NE(outsider.heard("parkd_results")[0],
                database_.value("SELECT left(" + hash + ", 32)"))
          << hash;
    }
  }
  for (const char* sql :
       {"SELECT parkd.results_payload('alices-private-box', 'tenant-of-alice')",
        "SELECT parkd.results_payload_v1('tenant-of-alice', 'alices-private-box')",
        "SELECT parkd.hmac_v1('', '')", "SELECT parkd.renew_secret()",
        "SELECT key FROM parkd_private.secrets"}) {
    EXPECT_NE(refusal(outsider.session(), sql).find("permission denied"), std::string::npos) << sql;
  }
}

TEST_F(Announcements, are_understood_by_whoever_reads_the_tenant) {
  const auto session = database_.connect("alice");
  Receiver receiver(*session, "parkd_results");
  StoreRig daemon(quiet_options(database_.dsn()));
  std::map<std::string, std::string> heard;  // by tenant
  for (const char* tenant : {"alice", "bob"}) {
    ASSERT_TRUE(daemon.driver->submit({spec(tenant)}).ok());
    ASSERT_NO_FATAL_FAILURE(finish(daemon, daemon.driver->claim("m", 1)->at(0)));
    ASSERT_TRUE(eventually([&] { return receiver.heard_of(*session) == heard.size() + 1; }));
    heard[tenant] = receiver.heard.back();
  }
  EXPECT_EQ(receiver.heard.size(), 2u);
  EXPECT_NE(heard["alice"], heard["bob"]) << "one key of two tenants";
  EXPECT_EQ(payload("alice", "box"), heard["alice"]);
  EXPECT_EQ(payload("bob", "box"), heard["bob"]);
  database_.run("INSERT INTO parkd.tenant_logins VALUES ('rita', 'alice')");
  EXPECT_EQ(payload("rita", "box"), heard["alice"]);
  EXPECT_EQ(value("anna", "SELECT parkd.results_payload('box', 'bob')"), heard["bob"]);
  const auto bob = database_.connect("bob");
  EXPECT_NE(refusal(*bob, "SELECT parkd.results_payload('box', 'alice')").find("not for alice"),
            std::string::npos);
  for (const char* login : {"alice", "bob", "rita", "anna"}) {
    const auto other = database_.connect(login);
    for (const char* sql :
         {"SELECT key FROM parkd_private.secrets",
          "SELECT parkd.results_payload_v1('alice', 'box')", "SELECT parkd.renew_secret()"}) {
      EXPECT_NE(refusal(*other, sql).find("permission denied"), std::string::npos) << login << sql;
    }
  }
  database_.run("SELECT parkd.renew_secret()");
  EXPECT_NE(payload("alice", "box"), heard["alice"]);
}

// The same key twice in a statement is one NOTIFY; each of many keys has its own.
TEST_F(Announcements, of_one_finish_are_one_a_key) {
  StoreRig daemon(quiet_options(database_.dsn()));
  std::vector<JobSpec> jobs;
  for (const char* key : {"a", "a", "b", "c"}) {
    jobs.push_back(spec("alice"));
    jobs.back().mailbox_key = key;
  }
  ASSERT_TRUE(daemon.driver->submit(jobs).ok());
  const auto session = database_.connect("alice");
  Receiver receiver(*session, "parkd_results");
  std::vector<FinishItem> items;
  for (const Job& job : *daemon.driver->claim("m", 4)) {
    items.push_back({job.id, job.lease, ending("{}")});
  }
  ASSERT_TRUE(daemon.driver->finish(items).ok());
  EXPECT_TRUE(eventually([&] { return receiver.heard_of(*session) >= 3; }));
  EXPECT_EQ(std::multiset<std::string>(receiver.heard.begin(), receiver.heard.end()),
            (std::multiset<std::string>{payload("alice", "a"), payload("alice", "b"),
                                        payload("alice", "c")}));
}

// Another daemon's: nothing but the announcement says it, for neither polls.
TEST_F(Announcements, reach_a_daemon_whose_reader_waits) {
  PostgresOptions options = quiet_options(database_.dsn());
  options.listen = true;
  StoreRig listening(options);
  StoreRig working(quiet_options(database_.dsn()));
  ASSERT_TRUE(working.driver->submit({spec("alice")}).ok());
  EXPECT_TRUE(listening.driver->fetch({"alice", "box", 0, 10})->messages.empty());
  EXPECT_TRUE(listening.driver->fetch({"bob", "box", 0, 10})->messages.empty());
  ASSERT_NO_FATAL_FAILURE(finish(working, working.driver->claim("m", 1)->at(0)));
  std::vector<std::pair<std::string, std::string>> told;
  EXPECT_TRUE(eventually([&] {
    for (const auto& message : listening.driver->told().messages) told.push_back(message);
    return !told.empty();
  }));
  EXPECT_EQ(told, (std::vector<std::pair<std::string, std::string>>{{"alice", "box"}}));
}

}  // namespace
}  // namespace parkd
