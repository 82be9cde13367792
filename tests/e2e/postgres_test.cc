// Real daemons on a real PostgreSQL: jobs by INSERT, results by SELECT, and the database or a
// daemon gone in between.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iostream>
#include <numeric>
#include <thread>
#include <vector>

#include "tests/e2e/postgres_world.h"
#include "tests/support/event_peer.h"
#include "tests/support/file_form.h"

namespace parkd::testing {
namespace {

constexpr int kManyJobs = 24;  // more than one daemon runs at a time
constexpr int kLong = 1000;    // tokens

DaemonSetup wide() {
  DaemonSetup setup;
  setup.max_num_seqs = 8;
  return setup;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Postgres, a_job_inserted_by_sql_is_answered_in_parkd_results) {
  PostgresWorld world;
  DaemonProcess& daemon = world.start_daemon(wide());
  const std::string key = world.value(
      "INSERT INTO parkd.jobs (model, body, custom_id) VALUES ('tiny', "
      R"('{"messages":[{"role":"user","content":"Name three rivers."}],"max_tokens":8}', )"
      "'order-17') RETURNING mailbox_key");
  world.wait_for_messages(1);
  // An administrator sees whose sessions these are.
  EXPECT_GE(world.number("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                         "AND application_name LIKE 'parkd-%' AND usename = 'parkd_worker'"),
            3);
  const std::string row = " FROM parkd.results WHERE mailbox_key = '" + key + "'";
  EXPECT_EQ(world.value("SELECT custom_id" + row), "order-17");
  EXPECT_EQ(world.value("SELECT outcome" + row), "completed");
  EXPECT_NE(world.value("SELECT text" + row), "");
  EXPECT_EQ(world.value("SELECT completion_tokens" + row), "8");
  EXPECT_EQ(world.value("SELECT body ->> 'system_fingerprint'" + row),
            world.value("SELECT content_hash FROM parkd.models WHERE name = 'tiny'"))
      << "a result says which files made it";
  // The same by HTTP, for whoever has no SQL.
  const json::array messages = wait_for_messages(*daemon.client("default"), key, 1);
  EXPECT_EQ(text_at(messages.at(0), "custom_id"), "order-17");
  world.expect_each_job_answered_once(1);
}

TEST(Postgres, a_completions_job_is_inserted_with_its_endpoint) {
  PostgresWorld world;
  world.start_daemon(wide());
  const std::string key = world.value(
      "INSERT INTO parkd.jobs (model, endpoint, body) VALUES ('tiny', '/v1/completions', "
      R"('{"prompt":"Once","max_tokens":4,"logit_bias":{")" +
      tiny_token('a') + R"(":100}}') RETURNING mailbox_key)");
  world.wait_for_messages(1);
  const std::string row = " FROM parkd.results WHERE mailbox_key = '" + key + "'";
  EXPECT_EQ(world.value("SELECT text" + row), "aaaa");
  EXPECT_EQ(world.value("SELECT body ->> 'object'" + row), "text_completion");
}

TEST(Postgres, a_response_is_inserted_with_its_endpoint_and_shown_by_its_text) {
  PostgresWorld world;
  world.start_daemon(wide());
  const std::string key = world.value(
      "INSERT INTO parkd.jobs (model, endpoint, body) VALUES ('tiny', '/v1/responses', "
      R"('{"input":"Once","max_output_tokens":4,"logit_bias":{")" +
      tiny_token('a') + R"(":100}}') RETURNING mailbox_key)");
  const std::string submitted = world.value(
      R"(SELECT mailbox_key FROM parkd.submit('{"model":"tiny","endpoint":"/v1/responses","body":)"
      R"({"input":"Once","max_output_tokens":1,"colour":"red"}}'))");
  world.wait_for_messages(2);
  const std::string row = " FROM parkd.results WHERE mailbox_key = '" + key + "'";
  EXPECT_EQ(world.value("SELECT text" + row), "aaaa");
  EXPECT_EQ(world.value("SELECT finish_reason" + row), "length");
  EXPECT_EQ(world.value("SELECT body ->> 'object'" + row), "response");
  EXPECT_EQ(world.value("SELECT error_message FROM parkd.results WHERE mailbox_key = '" +
                        submitted + "'"),
            "colour is not a known field");
}

TEST(Postgres, a_completions_job_of_several_prompts_is_inserted_and_answered_in_their_order) {
  PostgresWorld world;
  world.start_daemon(wide());
  const std::string key = world.value(
      "INSERT INTO parkd.jobs (model, endpoint, body) VALUES ('tiny', '/v1/completions', "
      R"('{"prompt":["Once",[80,81,82]],"max_tokens":4,"n":2,"seed":5}') RETURNING mailbox_key)");
  world.wait_for_messages(1);
  const std::string from = " FROM parkd.results WHERE mailbox_key = '" + key + "'";
  EXPECT_EQ(world.value("SELECT json_array_length(body -> 'choices')" + from), "4");
  EXPECT_EQ(world.value("SELECT body -> 'choices' -> 3 ->> 'index'" + from), "3");
  EXPECT_EQ(world.value("SELECT outcome" + from), "completed");
  EXPECT_EQ(world.value("SELECT completion_tokens <= 16 AND prompt_tokens > 3" + from), "t");
}

TEST(Postgres, a_file_that_one_daemon_took_any_daemon_serves) {
  PostgresWorld world;
  DaemonProcess& taker = world.start_daemon(wide());
  DaemonProcess& other = world.start_daemon(wide());
  const std::string bytes(2'500'000, 'x');
  const std::string acts_for = "X-Parkd-Tenant: lab\r\n";
  RawPeer peer(taker.socket());
  ASSERT_TRUE(
      peer.send(file_upload_head("in.jsonl", bytes.size(), acts_for) + bytes + kFileFormTail));
  const RawAnswer uploaded = peer.read();
  ASSERT_EQ(uploaded.status, 200) << uploaded.body;
  const std::string id = text_at(json::parse(uploaded.body), "id");
  // Another, which is not whole when its daemon dies.
  ASSERT_TRUE(peer.send(file_upload_head("cut.jsonl", 2 * bytes.size(), acts_for) + bytes));
  PostgresWorld::wait_until([&] {
    return world.number(
               "SELECT count(*) FROM parkd.file_pieces p JOIN parkd.files f "
               "ON f.id = p.file_id WHERE f.created_at IS NULL") == 2;
  });
  taker.kill();

  RawPeer reader(other.socket());
  const RawAnswer content =
      reader.call("GET", "/v1/files/" + id + "/content", "", "X-Parkd-Tenant: lab\r\n");
  EXPECT_EQ(content.status, 200) << content.body.substr(0, 500);
  EXPECT_TRUE(content.body == bytes);
  EXPECT_EQ(reader.call("GET", "/v1/files/" + id, "", "X-Parkd-Tenant: other\r\n").status, 404);
  const RawAnswer list = reader.call("GET", "/v1/files", "", acts_for);
  EXPECT_EQ(json::parse(list.body).at("data").as_array().size(), 1u) << list.body;
  EXPECT_EQ(world.value("SELECT filename FROM parkd.files WHERE id = '" + id + "'"), "in.jsonl");
  EXPECT_EQ(reader.call("DELETE", "/v1/files/" + id, "", acts_for).status, 200);
  PostgresWorld::wait_until([&] {
    return world.number("SELECT count(*) FROM parkd.files WHERE id = '" + id + "'") == 0;
  });
}

TEST(Postgres, the_live_view_shows_running_and_parked_jobs_with_units_and_reason) {
  PostgresWorld world;
  DaemonSetup setup = wide();
  setup.context_tokens = 32768;  // neither job ends by itself while a test looks
  setup.kv_units = 12'000;       // one of eight choices needs more than half
  world.start_daemon(setup);
  world.insert_jobs(2, 30'000, "live", 8);
  const std::string live = "SELECT count(*) FROM parkd.live WHERE units > 0 AND ";
  PostgresWorld::wait_until([&] {
    return world.number(live + "state = 'running'") == 1 &&
           world.number(live + "state = 'parked' AND reason <> ''") == 1;
  });
  EXPECT_EQ(world.value("SELECT state FROM parkd.workers"), "alive");
  EXPECT_EQ(world.value("SELECT pools -> 0 ->> 'capacity_units' FROM parkd.workers"), "12000");
  world.run("SELECT parkd.cancel(id) FROM parkd.jobs");
  world.wait_for_messages(2);
}

TEST(Postgres, jobs_of_a_model_that_no_daemon_has_say_why_they_wait) {
  PostgresWorld world;
  DaemonProcess& daemon = world.start_daemon(wide());
  world.run("INSERT INTO parkd.models (name) VALUES ('nobodys')");
  world.run(
      "INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('nobodys', "
      "'{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}', 'box')");
  EXPECT_EQ(world.value("SELECT reason FROM parkd.live"), "no daemon has the model nobodys");
  PostgresWorld::wait_until([&] {
    return world.number(
               "SELECT count(*) FROM parkd.depth WHERE model = 'nobodys' AND daemons = 0 "
               "AND queued = 1") == 1;
  });
  PostgresWorld::wait_until([&] { return has(ready_of(daemon).text, "model_not_served"); });
  world.run("SELECT parkd.cancel(id) FROM parkd.jobs");
  world.wait_for_messages(1);
}

TEST(Postgres, a_daemon_started_before_its_database_waits_and_says_so) {
  PostgresWorld world;
  DaemonProcess& daemon = world.add_daemon(wide());
  PostgresWorld::server("stop -m fast");
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const HttpAnswer away = ready_of(daemon);
  EXPECT_EQ(away.status, 503) << away.text;
  EXPECT_TRUE(has(text_at(away.json, "database"), "as parkd_worker")) << away.text;
  EXPECT_TRUE(has(text_at(away.json, "store_error"), "cannot connect to PostgreSQL")) << away.text;
  const HttpAnswer refused = must(daemon.client()->post("/v1/jobs", chat_job("away")));
  EXPECT_EQ(refused.status, 503) << refused.text;
  EXPECT_TRUE(has(text_at(refused.json, "error.message"), "PostgreSQL")) << refused.text;
  for (const std::string& told :
       {away.text, refused.text, must(daemon.client()->get("/v1/jobs/1")).text,
        must(daemon.client()->get("/v1/batches")).text}) {
    EXPECT_FALSE(has(told, "server running") || has(told, "No such file") || has(told, "FATAL"))
        << "libpq's words left the daemon: " << told;
  }
  EXPECT_TRUE(has(daemon.log(), "postgres.error")) << daemon.log();

  PostgresWorld::server("start");
  PostgresWorld::wait_until([&] { return ready_of(daemon).status == 200; });
  daemon.wait_for_model();
  world.insert_jobs(3, 4);
  world.wait_for_messages(3);
  world.expect_each_job_answered_once(3);
  EXPECT_TRUE(has(daemon.log(), "postgres.away")) << daemon.log();
}

TEST(Postgres, a_schema_this_parkd_does_not_know_ends_it_with_the_command_to_run) {
  PostgresWorld world;
  world.run("DROP SCHEMA parkd CASCADE");
  DaemonProcess& daemon = world.add_daemon(wide());
  EXPECT_FALSE(daemon.start());
  EXPECT_TRUE(has(daemon.log(), "jobctl migrate up --dsn 'postgresql:///")) << daemon.log();
}

TEST(Postgres, a_server_that_crashes_under_load_loses_and_doubles_nothing) {
  PostgresWorld world;
  DaemonProcess& first = world.start_daemon(wide());
  DaemonProcess& second = world.start_daemon(wide());
  world.insert_jobs(60, 60, "before");
  world.wait_for_messages(5);
  PostgresWorld::server("stop -m immediate");
  PostgresWorld::wait_until([&] { return ready_of(first).status == 503; });
  PostgresWorld::server("start");
  PostgresWorld::wait_until([&] {
    world.insert_jobs(20, 10, "after");
    return true;
  });
  world.wait_for_messages(80);
  world.expect_each_job_answered_once(80);
  PostgresWorld::wait_until(
      [&] { return ready_of(first).status == 200 && ready_of(second).status == 200; });
  EXPECT_GT(metric(first, "parkd_store_sessions_opened_total"), 5) << "it has connected again";
}

TEST(Postgres, the_jobs_of_a_killed_daemon_are_taken_over_within_its_ttl) {
  PostgresWorld world;
  DaemonProcess& doomed = world.start_daemon(wide());
  const int64_t n_jobs = world.stop_at_work(doomed, kManyJobs, kLong);
  doomed.kill();
  DaemonProcess& heir = world.start_daemon(wide());
  world.wait_for_messages(n_jobs);
  world.expect_each_job_answered_once(n_jobs);
  EXPECT_GT(completed_by(heir), 0);
  // On a loaded machine the heir's own beats may be late: then it comes again as another.
  EXPECT_GE(world.number("SELECT count(*) FROM parkd.workers WHERE state = 'gone'"), 1);
}

// Jobs come until each daemon has had some: on a loaded machine one may be late for the first.
TEST(Postgres, one_two_and_four_daemons_share_the_work_and_the_rest_finish_when_one_is_killed) {
  PostgresWorld world;
  int64_t n_jobs = 0;
  for (const size_t n_daemons : {1u, 2u, 4u}) {
    while (world.daemons().size() < n_daemons) world.start_daemon(wide());
    const auto completed = [&] {
      std::vector<int64_t> each;
      for (const auto& daemon : world.daemons()) {
        each.push_back(static_cast<int64_t>(completed_by(*daemon)));
      }
      return each;
    };
    const std::vector<int64_t> before = completed();
    std::vector<int64_t> after;
    do {
      world.insert_jobs(static_cast<int>(40 * n_daemons), 60);
      n_jobs += static_cast<int64_t>(40 * n_daemons);
      world.wait_for_messages(n_jobs);
      PostgresWorld::wait_until([&] {  // a daemon counts when the store has answered
        after = completed();
        return std::accumulate(after.begin(), after.end(), int64_t{0}) == n_jobs;
      });
    } while (!std::equal(before.begin(), before.end(), after.begin(), std::less<>()));
    std::cout << n_daemons << " daemons, jobs each:";
    for (size_t i = 0; i < n_daemons; ++i) std::cout << " " << after[i] - before[i];
    std::cout << "\n";
  }
  n_jobs += world.stop_at_work(*world.daemons().front(), 120, 60);
  world.daemons().front()->kill();
  world.wait_for_messages(n_jobs);
  world.expect_each_job_answered_once(n_jobs);
}

// By the database's clock alone: what was claimed when, and the last heartbeat of the dead one.
TEST(Postgres, three_of_four_daemons_take_over_within_the_ttl_and_a_round_of_housekeeping) {
  PostgresWorld world;
  for (int i = 0; i < 4; ++i) world.start_daemon(wide());
  world.run("CREATE TABLE public.claims (job_id bigint, daemon_id bigint, at timestamptz)");
  world.run(
      "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
      "INSERT INTO public.claims VALUES (NEW.id, NEW.daemon_id, clock_timestamp()); "
      "RETURN NULL; END $$");
  world.run(
      "CREATE TRIGGER note AFTER UPDATE ON parkd.jobs FOR EACH ROW WHEN (NEW.state = 'claimed' AND "
      "NEW.daemon_id IS DISTINCT FROM OLD.daemon_id) EXECUTE FUNCTION public.note()");
  DaemonProcess& doomed = *world.daemons().front();
  const std::string dead =
      world.value("SELECT id FROM parkd.daemons WHERE pid = " + std::to_string(doomed.pid()));
  // More than the others run and have places for, 24 each: it gets some, whoever claims first.
  const int64_t n_jobs = world.stop_at_work(doomed, 4 * kManyJobs, kLong / 4);
  doomed.kill();
  world.wait_for_messages(n_jobs);
  world.expect_each_job_answered_once(n_jobs);

  const std::string rescued =
      " FROM public.claims lost JOIN public.claims c USING (job_id) WHERE lost.daemon_id = " +
      dead + " AND c.daemon_id <> " + dead + " AND c.at > lost.at";
  EXPECT_GT(world.number("SELECT count(*)" + rescued), 0) << "it held none when it died";
  // Two seconds of ttl, two between rounds of housekeeping, and a slow machine.
  constexpr int kSlackS = 20;
  EXPECT_LT(std::stod(world.value("SELECT extract(epoch FROM d.lost_at - d.beat_at) FROM "
                                  "parkd.daemons d WHERE id = " +
                                  dead)),
            2 + 2 + kSlackS);
  EXPECT_LT(std::stod(world.value("SELECT extract(epoch FROM min(c.at) - (SELECT beat_at FROM "
                                  "parkd.daemons WHERE id = " +
                                  dead + "))" + rescued)),
            2 + 2 + kSlackS);
}

TEST(Postgres, a_caller_is_answered_whichever_daemon_runs_its_job) {
  PostgresWorld world;
  DaemonSetup one_at_a_time;
  one_at_a_time.max_num_seqs = 1;
  DaemonProcess& door = world.start_daemon(one_at_a_time);
  DaemonProcess& other = world.start_daemon(wide());
  int64_t n_calls = 0;
  // Until the other one has had some.
  while (completed_by(other) == 0) {
    std::vector<HttpAnswer> answers(16);
    std::vector<std::thread> callers;
    for (HttpAnswer& answer : answers) {
      callers.emplace_back([&] {
        answer = must(door.client()->post("/v1/chat/completions", chat_body("Say something.", 50)));
      });
    }
    for (std::thread& caller : callers) caller.join();
    n_calls += static_cast<int64_t>(answers.size());
    for (const HttpAnswer& answer : answers) {
      ASSERT_EQ(answer.status, 200) << answer.text;
      EXPECT_EQ(number_at(answer.json, "usage.completion_tokens"), 50);
    }
  }
  world.expect_each_job_answered_once(n_calls);
}

// What runs elsewhere comes in one piece, at its end.
TEST(Postgres, a_stream_is_its_message_whichever_daemon_runs_its_job) {
  PostgresWorld world;
  DaemonSetup one_at_a_time;
  one_at_a_time.max_num_seqs = 1;
  DaemonProcess& door = world.start_daemon(one_at_a_time);
  DaemonProcess& other = world.start_daemon(wide());
  int64_t n_calls = 0;
  while (completed_by(other) == 0) {
    std::vector<std::thread> callers;
    for (int i = 0; i < 16; ++i) {
      callers.emplace_back([&] {
        json::object body = chat_body("Say something.", 50);
        body["stream"] = true;
        EventPeer peer(door.socket());
        EXPECT_EQ(peer.open(RawPeer::request("POST", "/v1/chat/completions", json::serialize(body)))
                      .status,
                  200);
        std::string last;
        std::string finish_reason;
        while (const auto event = peer.next()) {
          last = event->data;
          if (last == "[DONE]") continue;
          const json::value chunk = json::parse(last);
          const json::value* reason = find(find(chunk, "choices")->get_array()[0], "finish_reason");
          if (reason->is_string()) finish_reason = std::string(reason->get_string());
        }
        EXPECT_EQ(last, "[DONE]");
        EXPECT_EQ(finish_reason, "length");
        EXPECT_TRUE(peer.is_whole());
      });
    }
    for (std::thread& caller : callers) caller.join();
    n_calls += 16;
  }
  world.expect_each_job_answered_once(n_calls);
}

// Two daemons without work look for it at the same moment; the one whose door it came by has it.
TEST(Postgres, a_stream_runs_at_its_own_door_while_others_look_for_work) {
  PostgresWorld world;
  DaemonProcess& door = world.start_daemon(wide());
  DaemonProcess& other = world.start_daemon(wide());
  constexpr int kStreams = 30;
  for (int i = 0; i < kStreams; ++i) {
    json::object body = chat_body("Say something.", 20);
    body["stream"] = true;
    EventPeer peer(door.socket());
    ASSERT_EQ(
        peer.open(RawPeer::request("POST", "/v1/chat/completions", json::serialize(body))).status,
        200);
    while (peer.next()) {
    }
    EXPECT_TRUE(peer.is_whole());
  }
  // How many pieces it comes in depends on how soon it is followed; that it can be, on who runs it.
  EXPECT_EQ(completed_by(other), 0);
  EXPECT_EQ(completed_by(door), kStreams);
  world.expect_each_job_answered_once(kStreams);
}

TEST(Postgres, a_daemon_with_other_model_files_does_not_claim_under_that_name) {
  PostgresWorld world;
  DaemonProcess& first = world.start_daemon(wide());
  DaemonSetup setup = wide();
  setup.model_seed = 2;
  DaemonProcess& other = world.add_daemon(setup);
  ASSERT_TRUE(other.start());
  const std::string registered =
      world.value("SELECT content_hash FROM parkd.models WHERE name = 'tiny'");
  HttpAnswer models;
  PostgresWorld::wait_until([&] {
    models = must(other.client()->get("/v1/models"));
    return has(models.text, "\"state\":\"failed\"");
  });
  EXPECT_TRUE(has(models.text, registered)) << models.text;
  EXPECT_TRUE(has(ready_of(other).text, registered)) << "/readyz says it too";
  EXPECT_EQ(ready_of(other).status, 200) << "it would serve its other models";
  EXPECT_TRUE(other.wait_until([&] { return has(other.log(), "model.failed"); }));
  EXPECT_EQ(metric(other, "parkd_model_files_differ{model=\"tiny\"}"), 1);
  PostgresWorld::wait_until([&] {
    return world.number(
               "SELECT count(*) FROM parkd.workers WHERE pools -> 0 ->> 'failure' LIKE "
               "'%" +
               registered + "%'") == 1;
  });

  world.insert_jobs(10, 10);
  world.wait_for_messages(10);
  world.expect_each_job_answered_once(10);
  EXPECT_EQ(world.number("SELECT count(*) FROM parkd.results WHERE body ->> 'system_fingerprint' = "
                         "'" +
                         registered + "'"),
            10);
  PostgresWorld::wait_until([&] { return completed_by(first) == 10; });
  EXPECT_EQ(completed_by(other), 0);

  // Once nobody serves the old file, an operator lets the new one in.
  first.kill();
  world.run("UPDATE parkd.models SET content_hash = NULL WHERE name = 'tiny'");
  other.wait_for_model();
  world.insert_jobs(1, 4);
  world.wait_for_messages(11);
  world.expect_each_job_answered_once(11);
}

TEST(Postgres, late_results_of_a_stopped_daemon_are_refused_and_it_recovers) {
  PostgresWorld world;
  DaemonProcess& sleeper = world.start_daemon(wide());
  const int64_t n_jobs = world.stop_at_work(sleeper, kManyJobs, kLong);
  DaemonProcess& heir = world.start_daemon(wide());
  world.wait_for_messages(n_jobs);
  EXPECT_GT(completed_by(heir), 0) << "taken over while it slept";
  sleeper.signal(SIGCONT);
  PostgresWorld::wait_until([&] { return has(sleeper.log(), "postgres.ownership_lost"); });
  PostgresWorld::wait_until([&] { return ready_of(sleeper).status == 200; });
  world.expect_each_job_answered_once(n_jobs);

  heir.signal(SIGTERM);
  ASSERT_TRUE(heir.wait_for_end(std::chrono::seconds(60)));
  world.insert_jobs(3, 4);
  world.wait_for_messages(n_jobs + 3);
  world.expect_each_job_answered_once(n_jobs + 3);
  const auto pool = must(sleeper.client()->get("/v1/pool"));
  EXPECT_TRUE(has(pool.text, "\"in_use_units\":0")) << pool.text;
}

TEST(Postgres, a_waiting_reader_hears_of_a_result_another_daemon_made) {
  PostgresWorld world;
  DaemonSetup busy = wide();
  DaemonProcess& worker = world.start_daemon(busy);
  DaemonSetup setup = wide();
  setup.model_seed = 2;  // it claims nothing
  DaemonProcess& reader = world.add_daemon(setup);
  ASSERT_TRUE(reader.start());
  submit(*worker.client(), chat_job("far", 40));
  EXPECT_EQ(wait_for_messages(*reader.client(), "far", 1).size(), 1u);
}

TEST(Postgres, an_embedded_queue_delivers_its_results_to_the_database) {
  PostgresWorld world;
  DaemonSetup setup = wide();
  const std::string host = std::getenv("PGHOST");
  setup.more_lot =
      "  queue:\n    backend: rocksdb\n  mailbox:\n    backend: postgres\n    postgres_url: "
      "postgresql:///" +
      world.value("SELECT current_database()") + "?host=" + host + "&user=parkd_worker\n";
  DaemonProcess daemon(setup);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  submit(*daemon.client(), chat_job("pair", 4));
  world.wait_for_messages(1);
  EXPECT_EQ(world.value("SELECT outcome FROM parkd.results WHERE mailbox_key = 'pair'"),
            "completed");
  PostgresWorld::server("stop -m immediate");
  submit(*daemon.client(), chat_job("pair", 4));
  PostgresWorld::wait_until([&] { return completed_by(daemon) == 2; });
  EXPECT_EQ(ready_of(daemon).status, 200) << "the queue needs no database";
  PostgresWorld::server("start");
  PostgresWorld::wait_until(
      [&] { return world.number("SELECT count(*) FROM parkd.mailbox") == 2; });
}

// Lets pg_hba.conf ask this login for a password, until the end of the scope.
class PasswordAsked {
 public:
  PasswordAsked(const PostgresWorld& world, const std::string& login)
      : path_(std::string(std::getenv("PG_SANDBOX_DATA")) + "/pg_hba.conf") {
    std::ifstream in(path_);
    text_.assign(std::istreambuf_iterator<char>(in), {});
    std::ofstream(path_) << "local all " << login << " scram-sha-256\n" << text_;
    PostgresWorld::server("reload");
    // The server reads it when it comes to that.
    PostgresWorld::wait_until([&] { return !world.lets_in(login); });
  }
  ~PasswordAsked() {
    std::ofstream(path_) << text_;
    PostgresWorld::server("reload");
  }
  PasswordAsked(const PasswordAsked&) = delete;
  PasswordAsked& operator=(const PasswordAsked&) = delete;

 private:
  const std::string path_;
  std::string text_;
};

TEST(Postgres, a_password_comes_from_a_credential_and_is_never_shown) {
  PostgresWorld world;
  world.run("ALTER ROLE parkd_worker PASSWORD 'hunter2-right'");
  const PasswordAsked asked(world, "parkd_worker");
  DaemonProcess& daemon = world.add_daemon(wide());
  const auto start_with = [&](const std::string& password) {
    std::ofstream(daemon.directory() + "/postgres_password") << password << "\n";
    return daemon.start({{"CREDENTIALS_DIRECTORY", daemon.directory()}});
  };
  ASSERT_TRUE(start_with("hunter2-wrong")) << daemon.log();
  const HttpAnswer refused = ready_of(daemon);
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(has(refused.text, "it refuses the password")) << refused.text;
  EXPECT_FALSE(has(refused.text, "hunter2")) << refused.text;
  daemon.kill();
  ASSERT_TRUE(start_with("hunter2-right"));
  PostgresWorld::wait_until([&] { return ready_of(daemon).status == 200; });
  EXPECT_FALSE(has(daemon.log(), "hunter2")) << daemon.log();
}

}  // namespace
}  // namespace parkd::testing
