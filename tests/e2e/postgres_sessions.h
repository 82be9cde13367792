// What the sessions of real daemons are like, seen from the database.
//
// Other sessions' settings cannot be asked for, so a trigger in the tables that daemons write notes
// them while their statements run.
#pragma once

#include <string>

#include "tests/e2e/postgres_world.h"

namespace parkd::testing {

inline DaemonSetup eight_sequences() {
  DaemonSetup setup;
  setup.max_num_seqs = 8;
  return setup;
}

// From now on public.noted has a row for each statement of a daemon that writes jobs, messages,
// heartbeats or samples. Every round of housekeeping samples.
inline void note_sessions(const PostgresWorld& world) {
  world.run(
      "CREATE TABLE public.noted (pid int, name text, statement_limit text, lock_limit text, "
      "idle_limit text)");
  world.run(
      "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
      "IF session_user = 'parkd_worker' THEN INSERT INTO public.noted VALUES (pg_backend_pid(), "
      "current_setting('application_name'), current_setting('statement_timeout'), "
      "current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')); "
      "END IF; RETURN NULL; END $$");
  for (const char* table : {"jobs", "mailbox", "daemons", "depth_samples"}) {
    world.run("CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON parkd." +
              std::string(table) + " FOR EACH STATEMENT EXECUTE FUNCTION public.note()");
  }
  world.run("INSERT INTO parkd.limits VALUES ('tiny', 1000000, 'refuse')");
}

// One job by each way in and out, and a round of housekeeping: every lane has written.
inline void use_every_lane(const PostgresWorld& world, const DaemonProcess& daemon) {
  world.insert_jobs(1, 4);
  submit(*daemon.client("default"), chat_job("taken"));
  wait_for_messages(*daemon.client("default"), "taken", 1);
  json::object limit;
  limit["limit"] = 1;
  EXPECT_EQ(must(daemon.client("default")->post("/v1/mailbox/taken/take", limit)).status, 200);
  world.run("DELETE FROM parkd.depth_samples; DELETE FROM public.noted WHERE name = 'parkd-beat'");
  PostgresWorld::wait_until([&] {
    return world.number(
               "SELECT count(DISTINCT name) FROM public.noted WHERE name LIKE 'parkd-%'") == 6;
  });
}

// "name statement_limit lock_limit idle_limit" of every kind of session noted.
inline std::string noted_limits(const PostgresWorld& world) {
  return world.value(
      "SELECT string_agg(DISTINCT concat_ws(' ', name, statement_limit, lock_limit, idle_limit), "
      "E'\\n') FROM public.noted");
}

}  // namespace parkd::testing
