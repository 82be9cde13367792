// What each role can and cannot do, by logging in as it.
#include <gtest/gtest.h>

#include "tests/store/postgres/roles_world.h"
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

TEST_F(Roles, a_submitter_sees_its_own_tenant_only) {
  for (const char* login : {"alice", "bob"}) {
    EXPECT_EQ(value(login, "SELECT string_agg(custom_id, ',') FROM parkd.results"),
              "of " + std::string(login));
    EXPECT_EQ(value(login, "SELECT string_agg(custom_id, ',') FROM parkd.mailbox"),
              "of " + std::string(login));
    EXPECT_EQ(value(login, "SELECT text FROM parkd.results"), "Rhine");
  }
  insert("alice", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.live"), "1");
  EXPECT_EQ(value("bob", "SELECT count(*) FROM parkd.live"), "0");
  EXPECT_EQ(value("bob", "SELECT count(*) FROM parkd.jobs"), "0");
  EXPECT_EQ(value("bob", "SELECT sum(jobs) FROM parkd.costs"), "1");
}

TEST_F(Roles, a_leaky_function_in_a_condition_sees_nothing_more) {
  database_.run(
      "CREATE FUNCTION leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS "
      "$$ BEGIN IF $1 = 'of alice' THEN RAISE EXCEPTION 'leaked'; END IF; RETURN true; END $$");
  EXPECT_EQ(refused("bob", "SELECT * FROM parkd.results WHERE leak(custom_id)"), "");
  EXPECT_EQ(refused("bob", "SELECT * FROM parkd.mailbox WHERE leak(custom_id)"), "");
}

TEST_F(Roles, a_submitter_submits_for_its_own_tenant_and_writes_clients_columns_only) {
  EXPECT_TRUE(has(
      refused("alice", "INSERT INTO parkd.jobs (model, body, tenant) VALUES ('m', '{}', 'bob')"),
      "submits for tenant alice"));
  EXPECT_TRUE(has(refused("alice",
                          "SET parkd.tenant = 'bob'; INSERT INTO parkd.jobs (model, body, tenant) "
                          "VALUES ('m', '{}', 'bob')"),
                  "submits for tenant alice"));
  for (const char* column :
       {"order_key", "created_at", "run_lease", "state", "attempts", "daemon_id"}) {
    EXPECT_TRUE(has(refused("alice", "INSERT INTO parkd.jobs (model, body, " + std::string(column) +
                                         ") VALUES ('m', '{}', NULL)"),
                    "permission denied"))
        << column;
  }
  EXPECT_TRUE(
      has(refused("alice", "UPDATE parkd.jobs SET priority = 'critical'"), "permission denied"));
  EXPECT_TRUE(has(refused("alice", "DELETE FROM parkd.jobs"), "permission denied"));
  EXPECT_TRUE(has(refused("alice", "DELETE FROM parkd.mailbox"), "permission denied"));
  EXPECT_TRUE(
      has(refused("alice",
                  "INSERT INTO parkd.jobs (model, body, priority) VALUES ('m', '{}', 'critical')"),
          "may not submit critical"));
  EXPECT_TRUE(
      has(refused("alice", "SELECT * FROM parkd.claim_v1(1, 'm', 1)"), "permission denied"));
  EXPECT_TRUE(has(refused("alice", "SELECT * FROM parkd.cancel_v1(1, '')"), "permission denied"));
  EXPECT_TRUE(has(refused("alice", "SELECT * FROM parkd.tenant_logins"), "permission denied"));
  EXPECT_TRUE(has(refused("alice", "TRUNCATE parkd.jobs_copy"), "permission denied"));
}

TEST_F(Roles, bad_rows_are_refused_with_what_to_do) {
  const auto why = [&](const std::string& columns, const std::string& values) {
    return refused("alice", "INSERT INTO parkd.jobs (" + columns + ") VALUES (" + values + ")");
  };
  EXPECT_TRUE(has(why("model, body", "'zzz', '{}'"), "'zzz' is not known here"));
  EXPECT_TRUE(has(why("model, body", "'m', '[]'"), "not a JSON object"));
  EXPECT_TRUE(has(why("model, body", "'m', '{'"), "invalid input syntax for type json"));
  EXPECT_TRUE(has(why("model, body", "'m', '{\"a\":\"\\u0000\"}'"), "\\u0000"));
  EXPECT_TRUE(has(why("model, body", "'m', '{\"stream\":true}'"), "stream"));
  EXPECT_TRUE(has(why("model, body", "'m', '{\"model\":\"other\"}'"), "body.model is other"));
  EXPECT_TRUE(has(why("model, body, deadline", "'m', '{}', now() - interval '1 s'"), "has passed"));
  EXPECT_TRUE(has(why("model, body, run_at, deadline",
                      "'m', '{}', now() + interval '2 h', now() + interval '1 h'"),
                  "the job would never run"));
  EXPECT_TRUE(
      has(why("model, body, retention", "'m', '{}', '31 days'"), "not within 1 minute to 30 days"));
  EXPECT_TRUE(has(why("model, body, batch_id", "'m', '{}', 'nope'"), "no batch nope"));
  EXPECT_TRUE(has(why("model, body, priority", "'m', '{}', 'urgent'"), "urgent"));
}

TEST_F(Roles, copy_goes_through_its_own_table_for_the_logins_tenant) {
  auto alice = database_.connect("alice");
  EXPECT_TRUE(has(refusal(*alice, "COPY parkd.jobs (model, body) FROM STDIN"),
                  "COPY FROM not supported with row-level security"));
  {
    pqxx::work tx(*alice);
    tx.exec("SET LOCAL search_path = parkd");  // stream_to takes no schema
    pqxx::stream_to copy(tx, "jobs_copy", std::vector<std::string>{"model", "body", "custom_id"});
    for (int i = 0; i < 100; ++i)
      copy << std::make_tuple(std::string("m"), std::string("{\"messages\":[]}"),
                              "c" + std::to_string(i));
    copy.complete();
    tx.commit();
  }
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.jobs WHERE tenant = 'alice'"), "100");
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs_copy"), 0);
}

TEST_F(Roles, a_rolled_back_insert_never_existed) {
  auto alice = database_.connect("alice");
  {
    pqxx::work tx(*alice);
    tx.exec(
        "INSERT INTO parkd.jobs (model, body, idempotency_key) SELECT 'm', '{}', 'k' || i FROM "
        "generate_series(1, 10) i");
    tx.abort();
  }
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.jobs"), "0");
  insert("alice", "INSERT INTO parkd.jobs (model, body, idempotency_key) VALUES ('m', '{}', 'k1')");
  insert("alice", "INSERT INTO parkd.jobs (model, body, idempotency_key) VALUES ('m', '{}', 'k1')");
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.jobs"), "1") << "the same job again";
  EXPECT_TRUE(has(refused("alice",
                          "INSERT INTO parkd.jobs (model, body, idempotency_key) VALUES ('m', "
                          "'{\"n\":2}', 'k1')"),
                  "whose content differs"));
  EXPECT_EQ(value("alice",
                  "SELECT existed FROM "
                  "parkd.submit('{\"model\":\"m\",\"body\":{},\"idempotency_key\":\"k1\"}')"),
            "t");
  EXPECT_EQ(value("bob",
                  "SELECT existed FROM "
                  "parkd.submit('{\"model\":\"m\",\"body\":{},\"idempotency_key\":\"k1\"}')"),
            "f");
}

TEST_F(Roles, cancel_requeue_and_batches_are_of_the_own_tenant) {
  insert("alice", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{\"max_tokens\":9}')");
  const std::string id = value("alice", "SELECT id FROM parkd.live");
  EXPECT_EQ(value("bob", "SELECT parkd.cancel(" + id + ")"), "not_found");
  EXPECT_EQ(value("bob", "SELECT answer FROM parkd.cancel_jobs(ARRAY[" + id + "])"), "not_found");
  EXPECT_EQ(value("bob", "SELECT parkd.cancel_all()"), "0");
  EXPECT_TRUE(
      has(refused("bob", "SELECT parkd.cancel_all(p_tenant => 'alice')"), "acts for tenant bob"));
  EXPECT_EQ(value("alice", "SELECT parkd.cancel(" + id + ")"), "cancelling");
  EXPECT_EQ(value("dora", "SELECT count(*) FROM parkd.end_cancelled_v1(0)"), "1");
  EXPECT_EQ(value("bob", "SELECT count(*) FROM parkd.requeue(ARRAY[" + id + "])"), "0");
  EXPECT_EQ(value("alice", "SELECT requeued_from FROM parkd.requeue(ARRAY[" + id + "])"), id);
  EXPECT_EQ(value("alice", "SELECT max_new_tokens FROM parkd.live"), "9");
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.results WHERE outcome = 'cancelled'"), "1")
      << "the old message stays";
  const std::string batch = value("alice", "SELECT parkd.open_batch()");
  EXPECT_TRUE(has(refused("bob", "SELECT parkd.seal_batch('" + batch + "')"), "there is no batch"));
  EXPECT_TRUE(has(
      refused("bob",
              "INSERT INTO parkd.jobs (model, body, batch_id) VALUES ('m', '{}', '" + batch + "')"),
      "there is no batch"));
  insert("alice", "INSERT INTO parkd.jobs (model, body, batch_id) SELECT 'm', '{}', '" + batch +
                      "' FROM generate_series(1, 3)");
  EXPECT_EQ(value("alice", "SELECT parkd.seal_batch('" + batch + "')"), "3");
  EXPECT_TRUE(has(
      refused("alice",
              "INSERT INTO parkd.jobs (model, body, batch_id) VALUES ('m', '{}', '" + batch + "')"),
      "is sealed"));
  finish_all();
  EXPECT_EQ(value("alice", "SELECT status || ' ' || completed FROM parkd.batch_status"),
            "finished 3");
  EXPECT_EQ(value("bob", "SELECT count(*) FROM parkd.batch_status"), "0");
}

TEST_F(Roles, requeue_by_code_and_keys_of_batches_are_of_the_own_tenant) {
  for (const char* login : {"alice", "bob"}) {
    insert(login, "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
    const std::string id = value(login, "SELECT id FROM parkd.live");
    EXPECT_EQ(value(login, "SELECT parkd.cancel(" + id + ")"), "cancelling");
  }
  EXPECT_EQ(value("dora", "SELECT count(*) FROM parkd.end_cancelled_v1(0)"), "2");
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.requeue(p_error_code => 'cancelled')"), "1");
  EXPECT_EQ(value("alice", "SELECT string_agg(DISTINCT tenant, ',') FROM parkd.live"), "alice");
  EXPECT_EQ(value("anna", "SELECT count(*) FROM parkd.requeue(p_error_code => 'cancelled')"), "1")
      << "bob's is left, and an admin acts for any";
  const std::string open = "SELECT parkd.open_batch(p_idempotency_key => 'k')";
  const std::string alices = value("alice", open);
  EXPECT_EQ(value("alice", open), alices);
  EXPECT_NE(value("bob", open), alices);
  EXPECT_TRUE(
      has(refused("bob", "SELECT parkd.cancel_batch('" + alices + "')"), "there is no batch"));
  for (const char* login : {"rita", "mona"}) {
    for (const char* sql : {"SELECT parkd.open_batch()", "SELECT * FROM parkd.requeue(ARRAY[1])",
                            "SELECT parkd.seal_batch('x')", "SELECT parkd.cancel_batch('x')",
                            "SELECT parkd.cancel_jobs('{1}')", "SELECT parkd.cancel_all()",
                            "SELECT * FROM parkd.submit('{}')"}) {
      EXPECT_TRUE(has(refused(login, sql), "permission denied")) << login << " " << sql;
    }
  }
  // The daemon's own verbs, and what stands behind the people's functions, are the daemon's.
  for (const char* sql :
       {"SELECT * FROM parkd.requeue_v1('', '{1}', '{}', '', '', 1)",
        "SELECT * FROM parkd.open_batch_v1('bob', '', NULL, '', NULL, NULL, '1 d')",
        "SELECT * FROM parkd.seal_batch_v1('x', '')",
        "SELECT * FROM parkd.cancel_batch_v1('x', '')", "SELECT * FROM parkd.batches",
        "SELECT * FROM parkd.health", "SELECT * FROM parkd.pools", "SELECT parkd.sample_depth_v1()",
        "SELECT * FROM parkd.oldest_snapshot_v1()",
        "SELECT parkd.content_hash_v1('','','','','',NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,1)"}) {
    EXPECT_TRUE(has(refused("alice", sql), "permission denied")) << sql;
  }
  EXPECT_EQ(value("mona", "SELECT count(*) > 3 FROM parkd.health"), "t");
  EXPECT_EQ(value("mona", "SELECT count(*) FROM parkd.pools"), "0");
}

TEST_F(Roles, a_reader_reads_the_tenant_of_its_login_and_nothing_else) {
  EXPECT_EQ(value("rita", "SELECT string_agg(custom_id, ',') FROM parkd.results"), "of alice");
  EXPECT_TRUE(has(refused("rita", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')"),
                  "permission denied"));
  EXPECT_TRUE(has(refused("rita", "SELECT parkd.cancel(1)"), "permission denied"));
}

TEST_F(Roles, a_monitor_sees_numbers_and_no_bodies) {
  insert("alice", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
  EXPECT_EQ(value("mona", "SELECT jobs FROM parkd.depth_by_tenant"), "1");
  EXPECT_EQ(value("mona", "SELECT state FROM parkd.workers"), "alive");
  EXPECT_TRUE(has(refused("mona", "SELECT * FROM parkd.jobs"), "permission denied"));
  EXPECT_TRUE(has(refused("mona", "SELECT * FROM parkd.mailbox"), "permission denied"));
  EXPECT_TRUE(has(refused("mona", "SELECT * FROM parkd.results"), "permission denied"));
}

TEST_F(Roles, an_admin_acts_for_any_tenant) {
  insert("anna",
         "INSERT INTO parkd.jobs (model, body, tenant, priority) VALUES ('m', '{}', 'bob', "
         "'critical')");
  EXPECT_EQ(value("bob", "SELECT count(*) FROM parkd.live"), "1");
  EXPECT_EQ(value("anna", "SELECT count(*) FROM parkd.results"), "2");
  insert("anna", "INSERT INTO parkd.limits VALUES ('m', 5, 'refuse')");
  insert("anna", "UPDATE parkd.settings SET notify_results = true");
  EXPECT_TRUE(has(refused("anna", "DELETE FROM parkd.settings"), "permission denied"));
  EXPECT_TRUE(has(refused("anna", "SELECT * FROM parkd.claim_v1(1, 'm', 1)"), "permission denied"));
}

TEST_F(Roles, a_stranger_can_do_nothing) {
  for (const char* sql :
       {"SELECT * FROM parkd.results", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')",
        "SELECT parkd.cancel(1)", "SELECT * FROM parkd.workers"}) {
    EXPECT_TRUE(has(refused("nobody_in_particular", sql), "permission denied")) << sql;
  }
}

TEST_F(Roles, a_daemon_needs_no_more_than_its_role) {
  PostgresOptions options = quiet_options(database_.dsn_as("dora"));
  auto store = open_postgres_store(std::move(options), {});
  ASSERT_TRUE(store.ok()) << store.status().to_string();
  insert("alice", "INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES ('m', '{}', 'd')");
  auto dora = database_.connect("dora");
  EXPECT_TRUE(has(refusal(*dora, "DELETE FROM parkd.jobs"), "permission denied"));
  EXPECT_TRUE(has(refusal(*dora, "UPDATE parkd.tenants SET weight = 5"), "permission denied"));
}

TEST_F(Roles, functions_of_the_owner_do_not_look_at_the_callers_schemas) {
  database_.run("GRANT CREATE ON SCHEMA public TO alice");
  insert("alice",
         "CREATE FUNCTION public.octet_length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE "
         "EXCEPTION 'mine'; END $$");
  EXPECT_EQ(refused("alice",
                    "SET search_path = public, pg_catalog; INSERT INTO parkd.jobs (model, body) "
                    "VALUES ('m', '{}')"),
            "");
  EXPECT_EQ(database_.value("SELECT string_agg(proname, ',') FROM pg_proc WHERE pronamespace = "
                            "'parkd'::regnamespace AND prosecdef "
                            "AND NOT coalesce(proconfig::text LIKE '%search_path=pg_catalog, "
                            "parkd, pg_temp%', false)"),
            "");
}

// plain_job_v1 runs with the client's rights and names: what is checked must not depend on either.
TEST_F(Roles, a_search_path_of_the_clients_changes_nothing) {
  database_.run("GRANT CREATE ON SCHEMA public TO alice");
  const std::string mine = " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'mine'; END $$";
  for (const char* signature :
       {"num_nulls(text) RETURNS int", "string_to_array(text, text) RETURNS text[]",
        "current_setting(text, bool) RETURNS text", "octet_length(text) RETURNS int",
        "clock_timestamp() RETURNS timestamptz", "jsonb_typeof(jsonb) RETURNS text"}) {
    insert("alice", "CREATE FUNCTION public." + std::string(signature) + mine);
  }
  insert("alice", "CREATE FUNCTION public.evil(int, int) RETURNS bool" + mine);
  insert("alice", "CREATE FUNCTION public.evil_int(int, int) RETURNS int" + mine);
  insert("alice", "CREATE FUNCTION public.evil(jsonb, text) RETURNS text" + mine);
  insert("alice", "CREATE FUNCTION public.evil(timestamptz, interval) RETURNS timestamptz" + mine);
  for (const char* op :
       {"= (LEFTARG = int, RIGHTARG = int, FUNCTION = public.evil)",
        "/ (LEFTARG = int, RIGHTARG = int, FUNCTION = public.evil_int)",
        "->> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = public.evil)",
        "+ (LEFTARG = timestamptz, RIGHTARG = interval, FUNCTION = public.evil)"}) {
    insert("alice", "CREATE OPERATOR public." + std::string(op));
  }
  // pg_temp comes first for types, whatever the path says.
  const std::string session =
      "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (false); "
      "CREATE DOMAIN pg_temp.jsonb AS pg_catalog.jsonb CHECK (false); "
      "CREATE DOMAIN pg_temp.numeric AS pg_catalog.numeric CHECK (false); "
      "SET search_path = public, pg_catalog; ";
  const std::string plain =
      "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{\"messages\":[],\"max_tokens\":5}'); ";
  EXPECT_EQ(refused("alice", session + plain + plain), "");
  EXPECT_TRUE(has(refused("alice", session + plain +
                                       "INSERT INTO parkd.jobs (model, body, mailbox_key) VALUES "
                                       "('m', '{}', repeat('x', 513))"),
                  "mailbox_key has 513 bytes"));
}

// A client may write what plain_job_v1 remembers of its session (parkd.seen).
TEST_F(Roles, a_forged_memory_binds_no_tenant_and_makes_no_model) {
  const auto forged = [](const std::string& model, const std::string& tenant) {
    return "SELECT set_config('parkd.seen', " + model + " || E'\\nalice\\n" + tenant +
           "\\n9999999999', false); ";
  };
  const std::string of_bob = forged("'m'", "bob");
  const std::string plain = "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')";
  const std::string columns = "INSERT INTO parkd.jobs (model, body, ";
  // Doors with the owner's rights, which no policy binds, and a login without policies.
  database_.run(
      "CREATE VIEW door AS SELECT model, body, tenant FROM parkd.jobs; "
      "GRANT INSERT ON door TO alice; "
      "CREATE FUNCTION door() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ " +
      plain +
      " $$; DO $$ BEGIN CREATE ROLE carol LOGIN BYPASSRLS IN ROLE parkd_submitter; "
      "EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  for (const std::string& statement :
       {plain, columns + "tenant) VALUES ('m', '{}', 'bob')",
        std::string("INSERT INTO door (model, body) VALUES ('m', '{}')"),
        std::string("INSERT INTO door VALUES ('m', '{}', 'bob')"), std::string("SELECT door()"),
        std::string("INSERT INTO parkd.jobs_copy (model, body) VALUES ('m', '{}')"),
        std::string("SELECT parkd.submit('{\"model\":\"m\",\"body\":{}}')"),
        // between two rows of one statement
        std::string(
            "INSERT INTO parkd.jobs (model, body) SELECT 'm', '{}' FROM generate_series(1, 3) "
            "i, LATERAL (SELECT set_config('parkd.seen', E'm\\nalice\\nbob\\n9999999999', i > "
            "5)) x")}) {
    EXPECT_TRUE(has(refused("alice", of_bob + statement), "may not submit for tenant bob"))
        << statement;
  }
  EXPECT_TRUE(has(refused("carol", "SET parkd.seen = E'm\\ncarol\\nbob\\n9999999999'; " + plain),
                  "may not submit for tenant bob"));
  EXPECT_TRUE(
      has(refused("alice", forged("'nope'", "alice") +
                               "INSERT INTO parkd.jobs (model, body) VALUES ('nope', '{}')"),
          "and model nope"));
  EXPECT_TRUE(has(refused("alice", forged("repeat('a', 9000)", "alice") +
                                       "INSERT INTO parkd.jobs (model, body) VALUES (repeat('a', "
                                       "9000), '{}')"),
                  "is not known here"));
  // What is not plain is looked up.
  database_.run(
      "INSERT INTO parkd.batches (id, tenant, retention, deadline) VALUES "
      "('of-bob', 'bob', '1 day', now() + interval '1 day')");
  insert("bob", columns + "idempotency_key) VALUES ('m', '{}', 'k')");
  EXPECT_TRUE(has(refused("alice", of_bob + columns + "batch_id) VALUES ('m', '{}', 'of-bob')"),
                  "no batch of-bob"));
  EXPECT_EQ(refused("alice", of_bob + columns + "idempotency_key) VALUES ('m', '{\"n\":2}', 'k')"),
            "");
  EXPECT_EQ(value("alice", "SELECT count(*) FROM parkd.jobs"), "1");
  EXPECT_EQ(value("bob", "SELECT count(*) FROM parkd.jobs"), "1");
  EXPECT_TRUE(has(refused("alice", "SET parkd.seen = E'm\\nbob\\nbob\\n9999999999'; " + columns +
                                       "tenant) VALUES ('m', '{}', 'bob')"),
                  "submits for tenant alice"));
  for (const char* door : {"INSERT INTO door (model, body) VALUES ('m', '{}')", "SELECT door()"}) {
    EXPECT_EQ(refused("alice", door), "") << "an honest one";
  }
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE tenant = 'alice'"), 3);
}

TEST_F(Roles, a_session_may_read_backslashes_its_own_way) {
  auto alice = database_.connect("alice");
  EXPECT_EQ(refusal(*alice, "SET standard_conforming_strings = off"), "");
  EXPECT_TRUE(has(refusal(*alice,
                          "INSERT INTO parkd.jobs (model, body) VALUES ('m', "
                          "E'{\"a\":\"\\\\u0000\"}')"),
                  "body contains \\u0000"));
  EXPECT_EQ(refusal(*alice, "SELECT parkd.submit('{\"model\":\"m\",\"body\":{}}')"), "");
}

TEST_F(Roles, a_login_that_is_bound_anew_is_believed_no_more_than_a_second) {
  auto alice = database_.connect("alice");
  const std::string plain =
      "INSERT INTO parkd.jobs (model, body, custom_id) VALUES ('m', '{}', 'x')";
  EXPECT_EQ(refusal(*alice, plain), "");
  database_.run("INSERT INTO parkd.tenant_logins VALUES ('alice', 'acme')");
  const std::string at_once = refusal(*alice, plain);
  EXPECT_TRUE(at_once.empty() || has(at_once, "may not submit for tenant alice")) << at_once;
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_EQ(refusal(*alice, plain), "");
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE tenant = 'alice'"), 1);
  EXPECT_GE(database_.number("SELECT count(*) FROM parkd.jobs WHERE tenant = 'acme'"), 1);
}

TEST_F(Roles, the_tenant_of_admins_and_daemons_is_nobodys_name) {
  database_.run(
      "DO $$ BEGIN CREATE ROLE \"default\" LOGIN IN ROLE parkd_submitter; EXCEPTION WHEN "
      "duplicate_object THEN NULL; END $$");
  insert("anna", "INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
  for (const char* sql : {"INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')",
                          "SELECT * FROM parkd.live", "SELECT * FROM parkd.take('box')"}) {
    EXPECT_TRUE(has(refused("default", sql), "no tenant of its own")) << sql;
  }
  database_.run("INSERT INTO parkd.tenant_logins VALUES ('default', 'alice')");
  EXPECT_EQ(value("default", "SELECT string_agg(custom_id, ',') FROM parkd.results"), "of alice");
}

}  // namespace
}  // namespace parkd
