// The columns of each kind of row: every member is read, and each from a column of its own. No
// database is asked.
#include "lib/store/postgres/columns.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <tuple>

#include "lib/store/postgres/arguments.h"
#include "lib/store/postgres/rows.h"
#include "tests/support/whole_job.h"

namespace parkd {
namespace {

using std::chrono::seconds;

// A row whose n-th column is n, as a number, but for those that hold a word of ours. `words`: by
// the column.
template <class Row, size_t n>
Row numbered(const Column<Row> (&columns)[n],
             const std::map<std::string_view, std::string_view>& words) {
  Row row;
  for (size_t i = 0; i < n; ++i) {
    const auto word = words.find(columns[i].sql);
    const std::string text =
        word == words.end() ? std::to_string(1'000'000 * (i + 1)) : std::string(word->second);
    columns[i].read(Field{text, false}, row);
  }
  return row;
}

// Where the columns are those of rows.h, a member that is added here must be named below, for the
// bindings no longer match: give it a column in rows.h, and a line here.
template <class... T>
void expect_all_set(const T&... members) {
  size_t at = 0;
  const auto check = [&at](const auto& member) {
    EXPECT_NE(member, std::decay_t<decltype(member)>()) << "the member " << at << " has no column";
    ++at;
  };
  (check(members), ...);
}

void expect_spec(const JobSpec& spec) {
  std::apply([](const auto&... members) { expect_all_set(members...); }, members_of(spec));
  EXPECT_EQ(spec.priority, Priority::low);
  const std::set<std::string> texts{spec.endpoint,    spec.model,           spec.tenant,
                                    spec.mailbox_key, spec.custom_id,       spec.batch_id,
                                    spec.metadata,    spec.idempotency_key, spec.body};
  EXPECT_EQ(texts.size(), 9u);
  const std::set<int32_t> numbers{spec.max_attempts, spec.n_choices, spec.prompt_tokens,
                                  spec.max_new_tokens};
  EXPECT_EQ(numbers.size(), 4u);
}

TEST(Columns, every_member_of_a_job_has_one) {
  const std::map<std::string_view, std::string_view> words = {
      {"priority", "low"}, {"tokens_are_exact", "t"}, {std::end(kJobColumns)[-4].sql, "claimed"}};
  const Job job = numbered(kJobColumns, words);
  const auto& [id, spec, state, created_at, order_key, attempts, interruptions, deaths_alone,
               suspect_group, noted_lease, requeued_from, lease, claimed_at, weight] = job;
  expect_all_set(id, created_at, order_key, attempts, interruptions, deaths_alone, suspect_group,
                 noted_lease, requeued_from, lease, claimed_at);
  expect_spec(spec);
  EXPECT_EQ(state, JobState::claimed);
  EXPECT_EQ(weight, 1) << "a claim's alone, which reads it by name";
  const std::set<int32_t> numbers{attempts, interruptions, deaths_alone};
  EXPECT_EQ(numbers.size(), 3u);
  const std::set<WallTime> times{created_at, order_key, claimed_at, *spec.run_at, *spec.deadline};
  EXPECT_EQ(times.size(), 5u);
}

void expect_ending(const Ending& ending) {
  const auto& [outcome, error_code, error_message, error_param, status_code, body, truncated,
               prompt_tokens, completion_tokens, units, queue_us, run_us] = ending;
  EXPECT_EQ(outcome, Outcome::cancelled);
  EXPECT_FALSE(truncated) << "counted, not kept";
  expect_all_set(error_code, error_message, error_param, body, prompt_tokens, completion_tokens,
                 units, queue_us, run_us, status_code);
  const std::set<int64_t> numbers{status_code, prompt_tokens, completion_tokens,
                                  units,       queue_us,      run_us};
  EXPECT_EQ(numbers.size(), 6u);
}

TEST(Columns, every_member_of_a_message_has_one) {
  const Message message = numbered(kMessageColumns, {{"outcome", "cancelled"}});
  const auto& [sequence, job_id, lease, tenant, mailbox_key, model, custom_id, batch_id, metadata,
               ending, attempts, created_at, finished_at, expires_at] = message;
  expect_all_set(sequence, job_id, lease, tenant, mailbox_key, model, custom_id, batch_id, metadata,
                 attempts, created_at, finished_at, expires_at);
  expect_ending(ending);
  const std::set<std::string> texts{tenant,
                                    mailbox_key,
                                    model,
                                    custom_id,
                                    batch_id,
                                    metadata,
                                    ending.error_code,
                                    ending.error_message,
                                    ending.error_param,
                                    ending.body};
  EXPECT_EQ(texts.size(), 10u);
  const std::set<WallTime> times{created_at, finished_at, expires_at};
  EXPECT_EQ(times.size(), 3u);
}

TEST(Columns, every_member_of_a_history_row_has_one) {
  const HistoryRow history = numbered(kHistoryColumns, {{"outcome", "cancelled"}});
  const auto& [job_id, tenant, custom_id, model, outcome, error_code, prompt_tokens,
               completion_tokens, created_at, finished_at] = history;
  expect_all_set(job_id, tenant, custom_id, model, error_code, prompt_tokens, completion_tokens,
                 created_at, finished_at);
  EXPECT_EQ(outcome, Outcome::cancelled);
  const std::set<std::string> texts{tenant, custom_id, model, error_code};
  EXPECT_EQ(texts.size(), 4u);
  EXPECT_NE(prompt_tokens, completion_tokens);
  EXPECT_LT(created_at, finished_at);
}

void expect_file_batch(const FileBatchSpec& spec, const FileProgress& progress) {
  const auto& [input_file_id, endpoint, completion_window, retried_from, max_tokens, webhook_url] =
      spec;
  expect_all_set(input_file_id, endpoint, completion_window, retried_from, max_tokens, webhook_url);
  const auto& [stage, model, lines, reached, faults, validated_at, ended_at, output, errors,
               usage] = progress;
  expect_all_set(lines, reached, validated_at, ended_at);
  EXPECT_EQ(stage, FileStage::running);
  EXPECT_EQ(faults, (std::vector<BatchFault>{{"c", "m", "p", 7}}));
  EXPECT_LT(validated_at, ended_at);
  const std::set<std::string> texts{input_file_id, endpoint,    completion_window,
                                    retried_from,  webhook_url, model};
  EXPECT_EQ(texts.size(), 6u);
  std::set<int64_t> numbers{max_tokens.value(), lines, reached};
  for (const ResultFile* result : {&output, &errors}) {
    const auto& [n_lines, bytes, deleted] = *result;
    EXPECT_TRUE(deleted);
    numbers.insert({n_lines, bytes});
  }
  const auto& [input, cached, written, reasoning] = usage;
  numbers.insert({input, cached, written, reasoning});
  EXPECT_EQ(numbers.size(), 11u);
  EXPECT_EQ(numbers.count(0), 0u);
}

TEST(Columns, every_member_of_a_batch_has_one) {
  const Batch batch =
      numbered(kBatchColumns, {{"stage", "running"},
                               {"faults", R"([{"code":"c","message":"m","param":"p","line":7}])"},
                               {"webhook_status", "given_up"},
                               {"output_deleted", "t"},
                               {"errors_deleted", "t"}});
  const auto& [id, spec, total, completed, failed, cancelled, deadline_missed, quarantined,
               truncated, created_at, sealed_at, cancel_at, finished_at, live, progress, webhook] =
      batch;
  const auto& [tenant, name, metadata, idempotency_key, deadline, retention, file] = spec;
  expect_file_batch(file.value(), progress);
  expect_all_set(id, total, completed, failed, cancelled, deadline_missed, quarantined, truncated,
                 created_at, sealed_at, cancel_at, finished_at, tenant, name, metadata,
                 idempotency_key, deadline, retention);
  EXPECT_FALSE(live) << "counted, not a column";
  const auto& [status, attempts, next_attempt_at, delivered_at, last_error] = webhook;
  expect_all_set(attempts, next_attempt_at, delivered_at, last_error);
  EXPECT_EQ(status, WebhookStatus::given_up);
  EXPECT_NE(next_attempt_at, delivered_at);
  const std::set<int64_t> counts{total,           completed,   failed,   cancelled,
                                 deadline_missed, quarantined, truncated};
  EXPECT_EQ(counts.size(), 7u);
  const std::set<std::string> texts{id, tenant, name, metadata, idempotency_key};
  EXPECT_EQ(texts.size(), 5u);
  const std::set<WallTime> times{created_at, *sealed_at, *cancel_at, *finished_at, *deadline};
  EXPECT_EQ(times.size(), 5u);
}

TEST(Columns, a_batch_of_no_file_has_nothing_of_one) {
  Batch batch;
  for (const auto& column : kBatchColumns) column.read(Field{"", true}, batch);
  EXPECT_EQ(batch.spec.file, std::nullopt);
  EXPECT_EQ(batch.progress, FileProgress());
}

TEST(Faults, are_read_as_they_were_written) {
  const std::vector<BatchFault> faults{{"invalid_json_line", "no \"JSON\" \u00e4 \n", "", 3},
                                       {"empty_file", "", "custom_id", 0}};
  EXPECT_EQ(faults_of(faults_text(faults)), faults);
  EXPECT_TRUE(faults_of("[]").empty());
  EXPECT_EQ(faults_of(faults_text({{"c", std::string("a\0b", 3), "", 1}}))[0].message, "a\ufffdb");
  for (const char* broken : {"", "{}", "[1]", "[{}]", R"([{"code":1}])"}) {
    EXPECT_ANY_THROW(faults_of(broken)) << broken;
  }
}

TEST(Columns, every_member_of_a_file_has_one) {
  const StoredFile file = numbered(kFileColumns, {});
  const auto& [id, tenant, filename, purpose, bytes, created_at, expires_at] = file;
  expect_all_set(id, tenant, filename, purpose, bytes, created_at, expires_at);
  const std::set<std::string> texts{id, tenant, filename, purpose};
  EXPECT_EQ(texts.size(), 4u);
  EXPECT_LT(created_at, expires_at);
}

// --- the text

struct Pair {
  int64_t a = 0;
  std::string b;
};
constexpr Column<Pair> kPairColumns[] = {
    {"a", [](const Field& f, Pair& pair) { pair.a = f.integer(); }, "other_a"},
    {"lower(b)", [](const Field& f, Pair& pair) { pair.b = f.text(); }},
};
constexpr Argument<Pair> kPairArrays[] = {
    {"p_a", "bigint[]", [](const Pair& pair, ArrayText& array) { array.add(pair.a); }},
    {"p_b", "text[]", [](const Pair& pair, ArrayText& array) { array.add(pair.b); }},
};

TEST(Columns, make_the_list_that_is_asked_for) {
  EXPECT_STREQ(joined([] { return "SELECT " + list(kPairColumns) + " FROM t"; }),
               "SELECT a, lower(b) FROM t");
  EXPECT_STREQ(joined([] { return other_list(kPairColumns); }), "other_a, lower(b)");
}

TEST(Columns, make_arrays_by_name) {
  EXPECT_STREQ(joined([] { return "f(" + arrays(kPairArrays, 9) + ")"; }),
               "f(p_a => $9::bigint[], p_b => $10::text[])");
  Params params;
  add_arrays(params, kPairArrays, {{1, "x"}, {2, "y"}});
  ASSERT_EQ(params.values().size(), 2u);
  EXPECT_EQ(params.values()[0], "{1,2}");
  EXPECT_EQ(params.values()[1], "{\"x\",\"y\"}");
}

TEST(Field, is_empty_where_there_is_no_value) {
  const Field null{"", true};
  EXPECT_EQ(null.integer(), 0);
  EXPECT_EQ(null.text(), "");
  EXPECT_FALSE(null.flag());
  EXPECT_EQ(null.optional_integer(), std::nullopt);
  EXPECT_EQ(null.optional_time(), std::nullopt);
  EXPECT_EQ(null.optional_seconds(), std::nullopt);
  EXPECT_EQ((Field{"7", false}.optional_seconds()), seconds(7));
}

}  // namespace
}  // namespace parkd
