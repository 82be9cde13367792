// jobctl status, list, cancel, requeue, mailbox, pool, models: what became of jobs, and what parkd
// is doing.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <iostream>
#include <optional>

#include "lib/job/bounds.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/daemon_client.h"
#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/table.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

void print_message(const json::value& message) {
  std::cout << "job " << number_at(message, "id");
  if (const auto id = text_at(message, "custom_id"); !id.empty())
    std::cout << " (" << for_reader(id) << ")";
  std::cout << "  " << for_reader(outcome_text(message)) << "  "
            << number_at(message, "prompt_tokens") << "+" << number_at(message, "completion_tokens")
            << " tokens\n";
  if (const auto text = answer_text(message); !text.empty()) {
    std::cout << for_reader(text) << "\n";
  }
}

int status(const GlobalOptions& globals, int64_t id) {
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  const auto answer = (*client)->job(id);
  const int code = show(globals, answer, [id](const json::value& job) {
    const auto state = text_at(job, "state");
    if (state.empty()) return print_message(job);
    std::cout << "job " << id << "  " << state;
    if (find(job, "units") != nullptr) std::cout << "  " << number_at(job, "units") << " units";
    std::cout << "  model " << text_at(job, "model") << "  since " << text_at(job, "created_at")
              << "\n";
    if (const auto why = text_at(job, "waits_for"); !why.empty()) std::cout << why << "\n";
  });
  if (code != kExitOk) return code;
  const auto outcome = text_at(answer->json, "outcome");
  return outcome.empty() || outcome == "completed" ? kExitOk : kExitFailedOutcome;
}

void print_jobs(const json::array& jobs) {
  std::vector<std::vector<std::string>> rows = {
      {"ID", "STATE", "PRIORITY", "MODEL", "TENANT", "CUSTOM_ID", "CREATED"}};
  for (const json::value& job : jobs) {
    rows.push_back({std::to_string(number_at(job, "id")), text_at(job, "state"),
                    text_at(job, "priority"), text_at(job, "model"), text_at(job, "tenant"),
                    text_at(job, "custom_id"), text_at(job, "created_at")});
  }
  print_table(rows);
}

// Page after page, for one that looked through others' jobs may be short.
int list(const GlobalOptions& globals, ListRequest request) {
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  const int64_t wanted = request.limit;
  json::array jobs;
  for (;;) {
    const auto page = (*client)->list(request);
    if (!page.ok()) return report(page.status());
    for (json::value& job : list_at(page->json, "jobs")) jobs.push_back(std::move(job));
    const bool has_more = flag_at(page->json, "has_more");
    request.after = number_at(page->json, "next_after");
    request.limit = wanted - static_cast<int64_t>(jobs.size());
    if (has_more && request.limit > 0) continue;
    if (globals.json) {
      std::cout << json::serialize(json::object{
                       {"jobs", jobs}, {"next_after", request.after}, {"has_more", has_more}})
                << "\n";
      return kExitOk;
    }
    print_jobs(jobs);
    if (has_more) {
      std::cerr << "jobctl: these are the first " << jobs.size() << "; there are more: --after "
                << request.after << " goes on, --limit shows up to 1000\n";
    }
    return kExitOk;
  }
}

int cancel(const GlobalOptions& globals, const std::vector<int64_t>& ids) {
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  int worst = kExitOk;
  for (const int64_t id : ids) {
    const int code = show(globals, (*client)->cancel(id), [id](const json::value& answer) {
      const std::string said = text_at(answer, "cancel");
      std::cout << "job " << id << "  " << said
                << (said == "cancelling" ? " (it will not run; a daemon ends it)" : "") << "\n";
    });
    worst = std::max(worst, code);
  }
  return worst;
}

int requeue(const GlobalOptions& globals, const Requeue& what) {
  const bool of_many = !what.failed_with.empty() || !what.batch_id.empty();
  if (what.ids.empty() != of_many) {
    return report(invalid("give job ids, or --batch BATCH, --code CODE or both"));
  }
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  const auto answer = (*client)->requeue(what);
  const int code = show(globals, answer, [](const json::value& requeued) {
    for (const json::value& job : list_at(requeued, "jobs")) {
      std::cout << "job " << number_at(job, "requeued_from") << "  requeued as job "
                << number_at(job, "id") << (flag_at(job, "existed") ? " before" : "") << "\n";
    }
  });
  if (code != kExitOk) return code;
  const size_t n_requeued = list_at(answer->json, "jobs").size();
  if (of_many) {
    if (n_requeued == 0) std::cerr << "jobctl: none failed so, or all were requeued before\n";
    if (n_requeued >= kRequeueIdsMax) {
      std::cerr << "jobctl: " << n_requeued
                << " jobs requeued, as many as at once; the same command again takes the next\n";
    }
    return kExitOk;
  }
  if (n_requeued >= what.ids.size()) return kExitOk;
  std::cerr << "jobctl: " << n_requeued << " of " << what.ids.size()
            << " jobs requeued: only one whose message is there, and says that it did not "
               "complete, can be\n";
  return kExitRefused;
}

struct MailboxOptions {
  MailboxRequest request;
  bool take = false;
};

int mailbox(const GlobalOptions& globals, const MailboxOptions& options) {
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  const std::string& key = options.request.key;
  const auto print = [&key](const json::value& page) {
    const auto messages = list_at(page, "messages");
    for (const json::value& message : messages) print_message(message);
    if (const json::value* damaged = page.as_object().if_contains("damaged")) {
      std::cerr << "jobctl: messages after cursor " << text_at(*damaged, "after") << " up to "
                << text_at(*damaged, "through")
                << " cannot all be read, their bytes are damaged; --skip-damaged reads on behind "
                   "them\n";
    } else if (messages.empty()) {
      std::cerr << "no message under " << key << "\n";
    }
  };
  if (!options.take) return show(globals, (*client)->mailbox(options.request), print);
  if (options.request.wait_s > 0) {
    const auto page = (*client)->mailbox(options.request);
    if (!page.ok()) return report(page.status());
  }
  const Status status =
      (*client)->take(key, options.request.limit, [&](const Answer& taken) -> Status {
        show(globals, taken, print);
        std::cout.flush();
        // What could not be printed is not taken.
        return std::cout ? Status() : internal_error("cannot write to standard output");
      });
  return status.ok() ? kExitOk : report(status);
}

int pool(const GlobalOptions& globals) {
  const auto dsn = chosen_dsn(globals);
  if (!dsn.ok()) return report(dsn.status());
  if (*dsn) return report(invalid("pool is a daemon's: ask one with --socket"));
  DaemonClient daemon(chosen_socket(globals), globals.tenant);
  return show(globals, daemon.pool(), [](const json::value& answer) {
    std::vector<std::vector<std::string>> rows = {
        {"MODEL", "STATE", "UNITS", "PEAK", "RUNNING", "PARKED", "LOT", "OUTPUT TOKENS"}};
    for (const json::value& model : list_at(answer, "models")) {
      const auto number = [&](const char* key) { return std::to_string(number_at(model, key)); };
      rows.push_back({text_at(model, "model"), text_at(model, "state"),
                      number("in_use_units") + "/" + number("capacity_units"), number("peak_units"),
                      number("running_sequences") + "/" + number("max_num_seqs"), number("parked"),
                      number("lot_places"), number("output_tokens")});
    }
    print_table(rows);
  });
}

// Seconds, to tenths, at least one.
std::string tenths(int64_t ms) {
  const int64_t n = std::max<int64_t>(1, (ms + 50) / 100);
  return std::to_string(n / 10) + "." + std::to_string(n % 10);
}

int models(const GlobalOptions& globals) {
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  return show(globals, (*client)->models(), [](const json::value& answer) {
    std::vector<std::vector<std::string>> rows = {{"MODEL", "STATE", "MEMORY MB", "LOAD S",
                                                   "CONTEXT", "UNITS", "BLOCK", "FAMILY",
                                                   "FINGERPRINT", "WEIGHTS"}};
    for (const json::value& model : list_at(answer, "data")) {
      const auto failure = text_at(model, "failure");
      const json::value* memory = find(model, "memory");
      const int64_t load_ms = number_at(model, "load_ms");
      rows.push_back({text_at(model, "id"), text_at(model, "state"),
                      memory == nullptr ? "-" : std::to_string(number_at(*memory, "bytes") >> 20),
                      load_ms == 0 ? "-" : tenths(load_ms),
                      std::to_string(number_at(model, "context_tokens")),
                      std::to_string(number_at(model, "capacity_units")),
                      std::to_string(number_at(model, "block_size")), text_at(model, "family"),
                      text_at(model, "system_fingerprint"),
                      failure.empty() ? text_at(model, "description") : failure});
    }
    print_table(rows);
    for (const json::value& model : list_at(answer, "data")) {
      const auto degraded = text_at(model, "degraded");
      if (!degraded.empty())
        std::cout << text_at(model, "id") << " is degraded: " << degraded << "\n";
    }
  });
}

}  // namespace

void add_status(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  auto id = std::make_shared<int64_t>(0);
  CLI::App* command = app.add_subcommand("status", "Where a job is, or what it ended in");
  command->add_option("id", *id, "The job's id")->required();
  command->callback(
      [id, &globals, &chosen] { chosen = [id, &globals] { return status(globals, *id); }; });
}

void add_list(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<ListRequest>();
  CLI::App* command = app.add_subcommand("list", "Live jobs: those that have not ended");
  command->add_option("--batch", options->batch_id, "Only this batch's");
  command->add_option("--mailbox", options->mailbox_key, "Only those whose result goes there");
  command->add_option("--custom-id", options->custom_id, "Only those of this name of yours");
  command->add_option("--model", options->model, "Only this model's");
  command->add_option("--state", options->state, "scheduled, queued, claimed or cancelling")
      ->check(CLI::IsMember({"scheduled", "queued", "claimed", "cancelling"}));
  command->add_option("--after", options->after, "Ids greater than this");
  command->add_option("--limit", options->limit, "At most so many, up to 1000 (default: 100)")
      ->check(CLI::Range(1, 1000));
  command->callback([options, &globals, &chosen] {
    chosen = [options, &globals] { return list(globals, *options); };
  });
}

void add_cancel(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  auto ids = std::make_shared<std::vector<int64_t>>();
  CLI::App* command = app.add_subcommand("cancel", "Cancel jobs");
  command->add_option("ids", *ids, "Job ids")->required();
  command->callback(
      [ids, &globals, &chosen] { chosen = [ids, &globals] { return cancel(globals, *ids); }; });
}

void add_requeue(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  auto request = std::make_shared<Requeue>();
  CLI::App* command =
      app.add_subcommand("requeue", "Make new jobs of finished ones that did not complete");
  command->add_option("ids", request->ids, "Job ids");
  command->add_option("--batch", request->batch_id, "All members of this batch that failed");
  command
      ->add_option("--code,--failed-with", request->failed_with,
                   "All that failed with this code: run_timeout, internal ... (several: CODE,CODE)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--model", request->model, "... of this model only");
  command->callback([request, &globals, &chosen] {
    chosen = [request, &globals] { return requeue(globals, *request); };
  });
}

void add_mailbox(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<MailboxOptions>();
  CLI::App* command = app.add_subcommand("mailbox", "Results under a mailbox key");
  command->add_option("key", options->request.key, "The mailbox key")->required();
  command->add_option("--cursor", options->request.cursor,
                      "Only messages after this cursor (--json)");
  command->add_option("--limit", options->request.limit, "At most so many, up to 1000");
  command->add_option("--wait", options->request.wait_s,
                      "Wait up to so many seconds for one, up to 60");
  command->add_flag("--take", options->take, "Remove what is printed");
  command
      ->add_flag("--skip-damaged", options->request.skip_damaged,
                 "Read on behind messages whose bytes are damaged")
      ->excludes("--take");
  command->callback([options, &globals, &chosen] {
    chosen = [options, &globals] { return mailbox(globals, *options); };
  });
}

void add_pool(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  app.add_subcommand("pool", "Units in use, running and parked jobs")
      ->callback([&globals, &chosen] { chosen = [&globals] { return pool(globals); }; });
}

void add_models(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("models", "Models and their state");
  command->require_subcommand(0, 1);
  add_models_add(*command, globals, chosen);
  add_models_check(*command, globals, chosen);
  command->callback([command, &globals, &chosen] {
    if (command->get_subcommands().empty()) chosen = [&globals] { return models(globals); };
  });
}

}  // namespace parkd::jobctl
