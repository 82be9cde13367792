// Batches whose members are the lines of an uploaded file: what a daemon has to do for them, and
// how far they have come.
#include "tests/store/conformance/store_conformance.h"

namespace parkd {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

BatchSpec of_a_file(const std::string& tenant = "default") {
  BatchSpec spec;
  spec.tenant = tenant;
  spec.metadata = R"({"a":"b"})";
  spec.retention = hours(2);
  spec.file = FileBatchSpec{"file-1", std::string(kEndpoints[0].path), "24h", "batch_before", 17};
  return spec;
}

FileProgress at_stage(FileStage stage) {
  FileProgress progress;
  progress.stage = stage;
  progress.model = "m";
  progress.lines = 3;
  return progress;
}

// Of some daemon that wants whatever there is.
std::string next_work(StoreDriver& driver, std::vector<std::string> passed_over = {}) {
  const auto next = driver.next_batch_work({"a", seconds(60), std::move(passed_over)});
  EXPECT_TRUE(next.ok()) << next.status().to_string();
  return next.ok() && *next ? (*next)->id : "";
}

Batch advanced(StoreDriver& driver, const std::string& id, const FileProgress& progress) {
  auto batch = driver.advance_batch(id, progress);
  EXPECT_TRUE(batch.ok()) << batch.status().to_string();
  return batch.ok() ? *std::move(batch) : Batch();
}

JobSpec line_of(JobSpec line, int n) {
  line.mailbox_key = line.batch_id;
  line.custom_id = "c" + std::to_string(n);
  line.idempotency_key = line.batch_id + ":" + std::to_string(n);
  return line;
}

TEST_P(StoreConformance, a_batch_of_a_file_is_there_as_it_was_opened) {
  const BatchSpec given = of_a_file("alice");
  const OpenedBatch opened = must(driver_->open_batch(given));
  EXPECT_EQ(opened.batch.spec.file, given.file);
  EXPECT_EQ(opened.batch.progress, FileProgress());
  const Batch seen = must(driver_->get_batch(opened.batch.id, "alice"));
  EXPECT_EQ(seen.spec.file, given.file);
  EXPECT_EQ(seen.spec.metadata, given.metadata);
  EXPECT_EQ(seen.spec.retention, given.retention);
  EXPECT_EQ(seen.progress, FileProgress());
  EXPECT_EQ(seen.state(), BatchState::open);
  BatchSpec bare = of_a_file("alice");
  bare.file->retried_from.clear();
  bare.file->max_tokens.reset();
  const std::string other = open_one(bare);
  const std::string none = open_one();
  std::map<std::string, std::optional<FileBatchSpec>> listed;
  for (const Batch& batch : must(driver_->list_batches({}))) listed[batch.id] = batch.spec.file;
  const decltype(listed) expected = {
      {other, bare.file}, {none, std::nullopt}, {seen.id, given.file}};
  EXPECT_EQ(listed, expected);
}

TEST_P(StoreConformance, a_batch_of_a_file_may_be_opened_by_a_clock_that_is_ahead) {
  BatchSpec spec = of_a_file("alice");
  spec.deadline = clock_.now() + kBatchDeadlineMax + seconds(5);
  must(driver_->open_batch(spec));
  spec.file.reset();
  EXPECT_EQ(driver_->open_batch(spec).status().param(), "deadline");
}

TEST_P(StoreConformance, batches_of_files_are_listed_alone_and_beside_the_others) {
  std::vector<std::string> of_files;
  std::vector<std::string> of_none;
  for (int i = 0; i < 3; ++i) {
    of_files.insert(of_files.begin(), open_one(of_a_file()));
    clock_.advance(seconds(1));
    of_none.insert(of_none.begin(), open_one());
    clock_.advance(seconds(1));
  }
  const auto ids_of = [&](std::optional<bool> of_file, const std::string& after, int32_t limit) {
    BatchFilter filter{"default", after, limit, of_file};
    std::vector<std::string> ids;
    for (const Batch& batch : must(driver_->list_batches(filter))) ids.push_back(batch.id);
    return ids;
  };
  EXPECT_EQ(ids_of(true, "", 100), of_files);
  EXPECT_EQ(ids_of(false, "", 100), of_none);
  EXPECT_EQ(ids_of({}, "", 100).size(), 6u);
  EXPECT_EQ(ids_of(true, of_files[0], 1), std::vector{of_files[1]});
  EXPECT_EQ(ids_of(true, of_none[0], 2), (std::vector{of_files[0], of_files[1]}));
}

TEST_P(StoreConformance, batches_that_have_still_to_read_a_file_are_listed_by_it) {
  const auto readers = [&](const std::string& file, std::optional<std::string> tenant = {}) {
    BatchFilter filter;
    filter.tenant = std::move(tenant);
    filter.reads_file = file;
    std::vector<std::string> ids;
    for (const Batch& batch : must(driver_->list_batches(filter))) ids.push_back(batch.id);
    return ids;
  };
  const std::string file = of_a_file().file->input_file_id;
  const std::string validating = open_one(of_a_file());
  clock_.advance(seconds(1));
  const std::string expanding = open_one(of_a_file());
  advanced(*driver_, expanding, at_stage(FileStage::expanding));
  clock_.advance(seconds(1));
  for (const FileStage stage : {FileStage::running, FileStage::failed}) {
    advanced(*driver_, open_one(of_a_file()), at_stage(stage));
  }
  must(driver_->cancel_batch(open_one(of_a_file()), ""));  // which seals it
  BatchSpec other = of_a_file();
  other.file->input_file_id = "file-2";
  const std::string of_other = open_one(other);
  open_one();
  EXPECT_EQ(readers(file), (std::vector{expanding, validating}));
  EXPECT_EQ(readers("file-2"), std::vector{of_other});
  EXPECT_EQ(readers("file-2", "somebody"), std::vector<std::string>());
  EXPECT_EQ(readers("file-3"), std::vector<std::string>());
}

TEST_P(StoreConformance, a_batch_of_a_file_is_named_by_its_key_again_and_no_other_content) {
  BatchSpec keyed = of_a_file();
  keyed.idempotency_key = "k";
  keyed.deadline = clock_.now() + hours(24);
  const OpenedBatch first = must(driver_->open_batch(keyed));
  clock_.advance(seconds(5));
  keyed.deadline = clock_.now() + hours(24);  // of the same window, said again
  const OpenedBatch again = must(driver_->open_batch(keyed));
  EXPECT_EQ(again.batch.spec.deadline, first.batch.spec.deadline);
  EXPECT_TRUE(again.existed);
  EXPECT_EQ(again.batch.id, first.batch.id);
  EXPECT_EQ(again.batch.spec.file, keyed.file);
  for (const auto& change : std::vector<std::function<void(FileBatchSpec&)>>{
           [](FileBatchSpec& file) { file.input_file_id = "file-2"; },
           [](FileBatchSpec& file) { file.endpoint = kEndpoints[1].path; },
           [](FileBatchSpec& file) { file.completion_window = "1h"; },
           [](FileBatchSpec& file) { file.retried_from.clear(); },
           [](FileBatchSpec& file) { file.max_tokens = 18; }}) {
    BatchSpec other = keyed;
    change(*other.file);
    EXPECT_EQ(driver_->open_batch(other).status().code(), StatusCode::conflict);
  }
  keyed.file.reset();
  EXPECT_EQ(driver_->open_batch(keyed).status().code(), StatusCode::conflict);
}

TEST_P(StoreConformance, of_batches_of_files_the_oldest_that_needs_a_daemon_is_next) {
  EXPECT_EQ(next_work(*driver_), "");
  open_one();  // of no file
  EXPECT_EQ(next_work(*driver_), "");
  const std::string first = open_one(of_a_file("alice"));
  clock_.advance(seconds(1));
  const std::string second = open_one(of_a_file("bob"));
  EXPECT_EQ(next_work(*driver_), first);
  EXPECT_EQ(next_work(*driver_, {first}), second);
  EXPECT_EQ(next_work(*driver_, {first, second}), "");
  const auto without = [&](std::vector<std::string> tenants) {
    const auto next = must(driver_->next_batch_work({"a", seconds(60), {}, std::move(tenants)}));
    return next ? next->id : "";
  };
  EXPECT_EQ(without({"alice"}), second);
  EXPECT_EQ(without({"alice", "bob"}), "");
  advanced(*driver_, second, at_stage(FileStage::running));
  EXPECT_EQ(without({"alice", "bob"}), second) << "it has finished, and its file is not read";
}

TEST_P(StoreConformance,
       a_batch_of_a_file_is_worked_on_until_its_members_are_there_and_again_when_they_have_ended) {
  const std::string id = open_one(of_a_file());
  clock_.advance(seconds(5));
  Batch batch = advanced(*driver_, id, at_stage(FileStage::expanding));
  EXPECT_EQ(batch.progress.stage, FileStage::expanding);
  EXPECT_EQ(batch.progress.model, "m");
  EXPECT_EQ(batch.progress.lines, 3);
  EXPECT_EQ(batch.progress.validated_at, clock_.now());
  EXPECT_EQ(batch.sealed_at, std::nullopt);
  EXPECT_EQ(next_work(*driver_), id);
  must(driver_->submit({line_of(member(id), 1), line_of(member(id), 2), line_of(member(id), 3)}));
  FileProgress reached = batch.progress;
  reached.reached = 500;
  clock_.advance(seconds(5));
  EXPECT_EQ(advanced(*driver_, id, reached).progress.reached, 500);
  EXPECT_EQ(next_work(*driver_), id);
  reached.stage = FileStage::running;
  batch = advanced(*driver_, id, reached);
  EXPECT_EQ(batch.state(), BatchState::in_progress) << "sealed with its last line";
  EXPECT_EQ(batch.progress.validated_at, clock_.now() - seconds(5)) << "when it first was";
  EXPECT_EQ(next_work(*driver_), "");

  for (const Job& job : must(driver_->claim("m", 100))) finish_one(job);
  EXPECT_EQ(this->batch(id).state(), BatchState::finished);
  EXPECT_EQ(next_work(*driver_), id) << "its results are to be counted";
  FileProgress counted = batch.progress;
  counted.stage = FileStage::ended;
  counted.output = {2, 700, false};
  counted.errors = {1, 90, false};
  counted.usage = {10, 4, 20, 6};
  clock_.advance(seconds(5));
  batch = advanced(*driver_, id, counted);
  EXPECT_EQ(batch.progress.ended_at, clock_.now());
  counted.validated_at = batch.progress.validated_at;
  counted.ended_at = batch.progress.ended_at;
  EXPECT_EQ(batch.progress, counted);
  EXPECT_EQ(this->batch(id).progress, counted);
  EXPECT_EQ(next_work(*driver_), "");
}

TEST_P(StoreConformance, a_batch_of_a_file_never_goes_back) {
  const std::string id = open_one(of_a_file());
  FileProgress progress = at_stage(FileStage::expanding);
  progress.reached = 500;
  const Batch before = advanced(*driver_, id, progress);
  progress.reached = 400;
  EXPECT_EQ(advanced(*driver_, id, progress).progress, before.progress);
  EXPECT_EQ(advanced(*driver_, id, at_stage(FileStage::validating)).progress, before.progress);
  progress.reached = 500;
  EXPECT_EQ(advanced(*driver_, id, progress).progress, before.progress) << "the same again";
  must(driver_->submit({line_of(member(id), 1)}));
  progress.stage = FileStage::running;
  const Batch running = advanced(*driver_, id, progress);
  EXPECT_EQ(advanced(*driver_, id, at_stage(FileStage::expanding)).progress, running.progress);
  EXPECT_EQ(advanced(*driver_, id, at_stage(FileStage::ended)).progress, running.progress)
      << "a member has not ended";
  EXPECT_EQ(advanced(*driver_, id, at_stage(FileStage::failed)).progress, running.progress)
      << "a daemon that was slow found its file gone";
  for (const Job& job : must(driver_->claim("m", 100))) finish_one(job);
  progress.stage = FileStage::ended;
  progress.output = {1, 90, false};
  const Batch ended = advanced(*driver_, id, progress);
  progress.output = {0, 0, false};
  progress.faults = {{"results_damaged", "late", "", 0}};
  EXPECT_EQ(advanced(*driver_, id, progress).progress, ended.progress) << "counted once";
  EXPECT_EQ(advanced(*driver_, id, at_stage(FileStage::failed)).progress, ended.progress);
}

TEST_P(StoreConformance, a_batch_of_a_file_whose_file_has_faults_is_finished_without_members) {
  const std::string id = open_one(of_a_file());
  FileProgress bad = at_stage(FileStage::failed);
  bad.model.clear();
  bad.lines = 0;
  bad.faults = {{"invalid_json_line", "no \"JSON\" \u00e4 \n", "", 3},
                {"duplicate_custom_id", "repeats", "custom_id", 7}};
  const Batch failed = advanced(*driver_, id, bad);
  EXPECT_EQ(failed.state(), BatchState::finished);
  EXPECT_EQ(failed.progress.faults, bad.faults);
  EXPECT_EQ(failed.progress.validated_at, clock_.now());
  EXPECT_EQ(batch(id).progress, failed.progress);
  EXPECT_EQ(next_work(*driver_), "");
  EXPECT_FALSE(driver_->submit({line_of(member(id), 1)}).ok());
}

TEST_P(StoreConformance,
       a_batch_of_a_file_that_is_cancelled_while_it_is_read_gets_no_members_and_no_faults) {
  for (const FileStage found : {FileStage::expanding, FileStage::failed}) {
    const std::string id = open_one(of_a_file());
    must(driver_->cancel_batch(id, "default"));
    EXPECT_EQ(next_work(*driver_), id) << "a daemon ends it";
    FileProgress progress = at_stage(found);
    if (found == FileStage::failed) progress.faults = {{"empty_file", "empty", "", 0}};
    const Batch batch = advanced(*driver_, id, progress);
    EXPECT_EQ(batch.progress.stage, FileStage::running);
    EXPECT_TRUE(batch.progress.faults.empty());
    EXPECT_EQ(batch.state(), BatchState::finished);
    EXPECT_EQ(advanced(*driver_, id, at_stage(FileStage::ended)).progress.stage, FileStage::ended);
    EXPECT_EQ(next_work(*driver_), "");
  }
}

TEST_P(StoreConformance,
       a_batch_of_a_file_whose_deadline_passes_while_it_is_read_is_sealed_and_ended) {
  const std::string id = open_one(of_a_file());
  advanced(*driver_, id, at_stage(FileStage::expanding));
  must(driver_->submit({line_of(member(id), 1)}));
  clock_.advance(hours(25));
  must(driver_->purge());
  EXPECT_FALSE(driver_->submit({line_of(member(id), 2)}).ok());
  EXPECT_EQ(next_work(*driver_), id);
  const Batch batch = advanced(*driver_, id, at_stage(FileStage::expanding));
  EXPECT_EQ(batch.progress.stage, FileStage::running);
  EXPECT_EQ(batch.deadline_missed, 1);
  EXPECT_EQ(batch.state(), BatchState::finished);
  EXPECT_EQ(next_work(*driver_), id);
}

TEST_P(StoreConformance, a_batch_of_a_file_keeps_its_messages_until_both_result_files_are_deleted) {
  const std::string id = open_one(of_a_file());
  must(driver_->submit({line_of(member(id), 1)}));
  advanced(*driver_, id, at_stage(FileStage::running));
  for (const Job& job : must(driver_->claim("m", 100))) finish_one(job);
  const std::vector<Message> results = messages(id);
  ASSERT_EQ(results.size(), 1u);
  const auto take = [&] { return driver_->take("default", id, {results[0].sequence}); };
  EXPECT_EQ(take().status().code(), StatusCode::conflict);
  EXPECT_EQ(take().status().param(), "mailbox_key");
  FileProgress ended = at_stage(FileStage::ended);
  ended.output = {1, 9, true};
  EXPECT_TRUE(advanced(*driver_, id, ended).progress.output.deleted);
  EXPECT_EQ(take().status().code(), StatusCode::conflict);
  ended.output.deleted = false;
  ended.errors.deleted = true;
  const Batch both = advanced(*driver_, id, ended);
  EXPECT_TRUE(both.progress.output.deleted) << "what was deleted stays so";
  EXPECT_TRUE(both.progress.errors.deleted);
  EXPECT_EQ(must(take()).size(), 1u);
  EXPECT_TRUE(must(driver_->take("bob", id, {results[0].sequence})).empty());
}

TEST_P(StoreConformance, a_batch_of_a_file_takes_no_other_jobs) {
  const std::string id = open_one(of_a_file());
  const Status refused = driver_->submit({member(id)}).status();
  EXPECT_EQ(refused.code(), StatusCode::conflict) << refused.to_string();
  EXPECT_EQ(refused.param(), "jobs[0].batch_id");
  JobSpec keyed = line_of(member(id), 1);
  keyed.idempotency_key = id + "/1";  // as jobctl batch add has it
  EXPECT_EQ(driver_->submit({keyed}).status().code(), StatusCode::conflict);
  EXPECT_EQ(batch(id).total, 0);
}

TEST_P(StoreConformance, a_batch_of_a_file_is_what_alone_can_be_advanced) {
  EXPECT_EQ(driver_->advance_batch(open_one(), FileProgress()).status().code(),
            StatusCode::not_found);
  EXPECT_EQ(driver_->advance_batch("batch_none", FileProgress()).status().code(),
            StatusCode::not_found);
}

TEST_P(DurableStoreConformance,
       a_batch_of_a_file_goes_on_where_it_was_when_the_store_is_opened_again) {
  const std::string id = open_one(of_a_file());
  FileProgress progress = at_stage(FileStage::expanding);
  progress.reached = 500;
  const Batch before = advanced(*driver_, id, progress);
  reopen();
  EXPECT_EQ(batch(id).progress, before.progress);
  EXPECT_EQ(batch(id).spec.file, of_a_file().file);
  EXPECT_EQ(next_work(*driver_), id);
}

}  // namespace
}  // namespace parkd
