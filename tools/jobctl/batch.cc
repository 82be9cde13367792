// jobctl batch open, add, seal, status, cancel: batches whose state is parkd's own. (batch run
// keeps its state in files: batch_run.cc.)
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <iostream>
#include <map>

#include "lib/base/clock.h"
#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/base/raw_json.h"
#include "lib/base/text.h"
#include "lib/openai/request_options.h"
#include "lib/openai/submit.h"
#include "tools/jobctl/batch_input.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/priority_option.h"
#include "tools/jobctl/run_batches.h"
#include "tools/jobctl/table.h"
#include "tools/jobctl/time_option.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

// One piece of a file is accepted whole or refused whole; most files are one piece.
constexpr size_t kPieceJobs = 10'000;
constexpr size_t kPieceBytes = 32 << 20;
constexpr size_t kShownLines = 20;

struct OpenOptions {
  std::string name;
  std::string retention;
  std::string idempotency_key;
  std::string deadline;
  std::string metadata;
};

struct AddOptions {
  std::string batch;
  std::string input;
  std::string model;
  std::string priority = "low";
  std::string mailbox_key;
  std::string retention;
  bool seal = false;
};

void print_batches(const std::vector<json::value>& batches) {
  std::vector<std::vector<std::string>> rows = {{"BATCH", "STATUS", "TOTAL", "COMPLETED", "FAILED",
                                                 "CANCELLED", "UNFINISHED", "TRUNCATED",
                                                 "DEADLINE"}};
  for (const json::value& batch : batches) {
    const auto number = [&batch](const char* key) { return std::to_string(number_at(batch, key)); };
    rows.push_back({text_at(batch, "id"), text_at(batch, "status"), number("total"),
                    number("completed"), number("failed"), number("cancelled"),
                    number("unfinished"), number("truncated"), text_at(batch, "deadline")});
  }
  print_table(rows);
}

int open(const GlobalOptions& globals, const OpenOptions& options) {
  SystemClock clock;
  json::object request;
  const auto deadline = parse_instant("--deadline", options.deadline, clock.now());
  if (!deadline.ok()) return report(deadline.status());
  if (!deadline->empty()) request["deadline"] = *deadline;
  if (!options.metadata.empty()) {
    JsonMemory memory(options.metadata.size());
    const auto metadata = read_json(options.metadata, "--metadata", kChatJsonDepthMax, memory);
    if (!metadata.ok()) return report(metadata.status());
    if (!metadata->is_object()) return report(invalid("--metadata must be a JSON object"));
    request["metadata"] = *metadata;
  }
  if (!options.name.empty()) request["name"] = options.name;
  if (!options.retention.empty()) {
    const auto retention = parse_duration("--retention", options.retention);
    if (!retention.ok()) return report(retention.status());
    request["retention_s"] = retention->count();
  }
  // Always one, so that an opening whose answer was lost can be sent again and stays one batch.
  request["idempotency_key"] =
      options.idempotency_key.empty() ? "jobctl-" + random_hex(16) : options.idempotency_key;
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  const auto open_it = [&] { return (*client)->open_batch(request); };
  return show(globals, repeating(open_it),
              [](const json::value& batch) { std::cout << text_at(batch, "id") << "\n"; });
}

// --- add

class BatchAdd {
 public:
  BatchAdd(const AddOptions& options, Client& client, BatchInput input)
      : options_(options), client_(client), input_(std::move(input)) {}

  Status run();
  int64_t n_added() const { return n_added_; }
  int64_t n_existed() const { return n_existed_; }
  const std::string& mailbox_key() const { return mailbox_key_; }

 private:
  Status read_batch();
  Status check_lines() const;
  Result<std::string> make_job(const BatchLine& line) const;
  Status submit(const std::vector<std::string>& jobs, const std::vector<const BatchLine*>& lines);

  const AddOptions& options_;
  Client& client_;
  const BatchInput input_;
  std::string mailbox_key_;
  std::string deadline_;
  int64_t retention_s_ = 0;
  int64_t n_added_ = 0;
  int64_t n_existed_ = 0;
};

Status BatchAdd::read_batch() {
  PARKD_ASSIGN_OR_RETURN(const Answer batch, client_.batch(options_.batch));
  deadline_ = text_at(batch.json, "deadline");
  mailbox_key_ = options_.mailbox_key.empty() ? options_.batch : options_.mailbox_key;
  if (options_.retention.empty()) return {};
  PARKD_ASSIGN_OR_RETURN(const auto retention, parse_duration("--retention", options_.retention));
  retention_s_ = retention.count();
  return {};
}

// The key makes a repeated add the same jobs.
Result<std::string> BatchAdd::make_job(const BatchLine& line) const {
  PARKD_ASSIGN_OR_RETURN(const std::string text, input_.read(line));
  RawObject job(text);  // checked when the input was opened
  job.set_text("batch_id", options_.batch);
  job.set_text("mailbox_key", mailbox_key_);
  job.set_text("idempotency_key", options_.batch + "/" + to_hex(fnv1a64(line.custom_id)) + "/" +
                                      std::to_string(line.number));
  if (!job.contains("priority")) job.set_text("priority", options_.priority);
  if (!deadline_.empty() && !job.contains("deadline")) job.set_text("deadline", deadline_);
  if (retention_s_ > 0) job.set("retention_s", std::to_string(retention_s_));
  if (!options_.model.empty()) name_model(job, options_.model);
  return job.text();
}

// What can be told without parkd is told of all lines, before any of them is sent.
Status BatchAdd::check_lines() const {
  std::string faults;
  size_t n_faults = 0;
  for (const BatchLine& line : input_.lines()) {
    PARKD_ASSIGN_OR_RETURN(const std::string job, make_job(line));
    const auto parsed = parse_submit(job, {});
    Status status = line.refusal.ok() ? parsed.status() : line.refusal;
    if (status.ok()) {
      const JobSpec& spec = parsed->jobs.front();
      status = read_request_options(spec.endpoint, spec.body).status();
    }
    if (status.ok() || ++n_faults > kShownLines) continue;
    faults += "\n  line " + std::to_string(line.number) + ": " + status.message();
    if (!status.param().empty()) faults += " (" + status.param() + ")";
  }
  if (n_faults == 0) return {};
  return invalid(std::to_string(n_faults) + " lines cannot be jobs, so none was added:" + faults);
}

Status BatchAdd::submit(const std::vector<std::string>& jobs,
                        const std::vector<const BatchLine*>& lines) {
  const auto answer = client_.submit(jobs_text(jobs));
  if (!answer.ok()) {
    size_t index = 0;
    Status status = answer.status();
    if (std::sscanf(status.param().c_str(), "jobs[%zu]", &index) == 1 && index < lines.size()) {
      status = Status(status.code(),
                      "line " + std::to_string(lines[index]->number) + ": " + status.message());
    }
    return status;
  }
  if (const json::value* list = find(answer->json, "jobs"); list && list->is_array()) {
    for (const json::value& job : list->get_array()) {
      flag_at(job, "existed") ? ++n_existed_ : ++n_added_;
    }
  }
  return {};
}

Status BatchAdd::run() {
  PARKD_RETURN_IF_ERROR(read_batch());
  PARKD_RETURN_IF_ERROR(check_lines());
  std::vector<std::string> jobs;
  std::vector<const BatchLine*> lines;
  size_t bytes = 0;
  for (const BatchLine& line : input_.lines()) {
    PARKD_ASSIGN_OR_RETURN(std::string job, make_job(line));
    jobs.push_back(std::move(job));
    lines.push_back(&line);
    bytes += static_cast<size_t>(line.length);
    if (&line != &input_.lines().back() && jobs.size() < kPieceJobs && bytes < kPieceBytes) {
      continue;
    }
    PARKD_RETURN_IF_ERROR(submit(jobs, lines));
    jobs.clear();
    lines.clear();
    bytes = 0;
  }
  if (options_.seal) return client_.seal_batch(options_.batch).status();
  return {};
}

int add(const GlobalOptions& globals, const AddOptions& options) {
  auto input = BatchInput::open(options.input);
  if (!input.ok()) return report(input.status());
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  BatchAdd batch(options, **client, std::move(input).value());
  if (const Status status = batch.run(); !status.ok()) return report(status);
  if (globals.json) {
    JsonWriter said;
    said.begin_object().member("id", options.batch).member("added", batch.n_added());
    said.member("existed", batch.n_existed()).member("mailbox_key", batch.mailbox_key());
    std::cout << said.end_object().take() << "\n";
    return kExitOk;
  }
  std::cout << options.batch << ": " << batch.n_added() << " jobs added";
  if (batch.n_existed() > 0) std::cout << ", " << batch.n_existed() << " were there already";
  std::cout << "; results: jobctl mailbox " << batch.mailbox_key() << "\n";
  return kExitOk;
}

// --- the rest

using BatchVerb = Result<Answer> (Client::*)(const std::string& id);

int verb(const GlobalOptions& globals, BatchVerb call, const std::string& word) {
  const auto ids = batches_named(word);
  if (!ids.ok()) return report(ids.status());
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  int worst = kExitOk;
  std::vector<json::value> batches;
  for (const std::string& id : *ids) {
    const Result<Answer> answer = ((**client).*call)(id);
    if (!answer.ok()) {
      worst = std::max(worst, report(answer.status()));
    } else if (globals.json) {
      std::cout << answer->text << "\n";
    } else {
      batches.push_back(answer->json);
    }
  }
  if (!batches.empty()) print_batches(batches);
  return worst;
}

}  // namespace

void add_batch(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  CLI::App* batch = app.add_subcommand("batch", "Many jobs that belong together");
  batch->require_subcommand(1);
  add_batch_run(*batch, globals, chosen);

  auto opened = std::make_shared<OpenOptions>();
  CLI::App* command = batch->add_subcommand("open", "Open a batch and print its id");
  command->add_option("--name", opened->name, "For people");
  command
      ->add_option("--deadline", opened->deadline,
                   "+8h, or 2026-01-31T12:00:00Z; default 24 hours, at most 30 days")
      ->check(refuse_empty);
  command->add_option("--retention", opened->retention, "Life of the results: 1m to 30d")
      ->check(refuse_empty);
  command->add_option("--idempotency-key", opened->idempotency_key,
                      "A batch opened with the same key is the same batch");
  command->add_option("--metadata", opened->metadata, "A JSON object of your own");
  command->callback([opened, &globals, &chosen] {
    chosen = [opened, &globals] { return open(globals, *opened); };
  });

  auto added = std::make_shared<AddOptions>();
  command = batch->add_subcommand(
      "add", "Add the lines of a file; the same command again adds what is missing");
  command->add_option("id", added->batch, "The batch")->required();
  command->add_option("input", added->input, "JSONL of OpenAI batch lines")->required();
  command->add_option("--model", added->model, "Run every line on this model");
  command->add_option("--priority", added->priority, "high, normal or low (default: low)")
      ->check(is_priority());
  command->add_option("--mailbox-key", added->mailbox_key, "Where results go (default: the id)");
  command->add_option("--retention", added->retention, "Life of the results: 1m to 30d")
      ->check(refuse_empty);
  command->add_flag("--seal", added->seal, "And seal the batch");
  command->callback(
      [added, &globals, &chosen] { chosen = [added, &globals] { return add(globals, *added); }; });

  const std::map<std::string, std::pair<const char*, BatchVerb>> verbs = {
      {"status", {"How far a batch is", &Client::batch}},
      {"seal", {"No more members: a batch is finished when all of them are", &Client::seal_batch}},
      {"cancel", {"End what waits and stop what runs", &Client::cancel_batch}}};
  for (const auto& [name, what] : verbs) {
    auto id = std::make_shared<std::string>();
    command = batch->add_subcommand(name, what.first);
    command->add_option("id", *id, "The batch; or OUT.parkd-run, for those of a batch run")
        ->required();
    command->callback([id, call = what.second, &globals, &chosen] {
      chosen = [id, call, &globals] { return verb(globals, call, *id); };
    });
  }
}

}  // namespace parkd::jobctl
