// jobctl status, list, cancel, mailbox, pool, models: what became of jobs, and what parkd is doing.
#include <boost/json.hpp>
#include <iostream>
#include <optional>

#include "tools/jobctl/commands.h"
#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/table.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

// The 2xx answer, or nothing after printing why there is none and setting `code`.
std::optional<HttpAnswer> answer_or_report(Result<HttpAnswer> answer, int& code) {
  if (!answer.ok()) {
    code = report(answer.status());
    return std::nullopt;
  }
  if (answer->status >= 300) {
    code = report(status_of(*answer));
    return std::nullopt;
  }
  code = kExitOk;
  return std::move(*answer);
}

std::vector<json::value> list_at(const json::value& from, std::string_view path) {
  const json::value* list = find(from, path);
  if (list == nullptr || !list->is_array()) return {};
  return {list->get_array().begin(), list->get_array().end()};
}

void print_message(const json::value& message) {
  std::cout << "job " << number_at(message, "id");
  if (const auto id = text_at(message, "custom_id"); !id.empty()) std::cout << " (" << id << ")";
  std::cout << "  " << outcome_text(message) << "  " << number_at(message, "prompt_tokens") << "+"
            << number_at(message, "completion_tokens") << " tokens\n";
  if (const auto text = answer_text(message); !text.empty()) std::cout << text << "\n";
}

int status(const GlobalOptions& globals, int64_t id) {
  int code = kExitOk;
  const auto answer =
      answer_or_report(connect(globals)->get("/v1/jobs/" + std::to_string(id)), code);
  if (!answer) return code;
  const json::value& job = answer->json;
  if (globals.json) {
    std::cout << answer->text << "\n";
  } else if (const auto state = text_at(job, "state"); !state.empty()) {
    std::cout << "job " << id << "  " << state;
    if (find(job, "units") != nullptr) std::cout << "  " << number_at(job, "units") << " units";
    std::cout << "  model " << text_at(job, "model") << "  since " << text_at(job, "created_at")
              << "\n";
    if (const auto why = text_at(job, "waits_for"); !why.empty()) std::cout << why << "\n";
  } else {
    print_message(job);
  }
  const auto outcome = text_at(job, "outcome");
  return outcome.empty() || outcome == "completed" ? kExitOk : kExitFailedOutcome;
}

struct ListOptions {
  std::string model;
  std::string state;
  int64_t after = 0;
  int64_t limit = 100;
};

int list(const GlobalOptions& globals, const ListOptions& options) {
  std::string target =
      "/v1/jobs?limit=" + std::to_string(options.limit) + "&after=" + std::to_string(options.after);
  if (!options.model.empty()) target += "&model=" + url_encode(options.model);
  if (!options.state.empty()) target += "&state=" + url_encode(options.state);
  int code = kExitOk;
  const auto answer = answer_or_report(connect(globals)->get(target), code);
  if (!answer) return code;
  if (globals.json) {
    std::cout << answer->text << "\n";
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"ID", "STATE", "PRIORITY", "MODEL", "TENANT", "CUSTOM_ID", "CREATED"}};
  for (const json::value& job : list_at(answer->json, "jobs")) {
    rows.push_back({std::to_string(number_at(job, "id")), text_at(job, "state"),
                    text_at(job, "priority"), text_at(job, "model"), text_at(job, "tenant"),
                    one_line(text_at(job, "custom_id")), text_at(job, "created_at")});
  }
  print_table(rows);
  return kExitOk;
}

int cancel(const GlobalOptions& globals, const std::vector<int64_t>& ids) {
  const auto client = connect(globals);
  int worst = kExitOk;
  for (const int64_t id : ids) {
    int code = kExitOk;
    const auto answer = answer_or_report(
        client->post("/v1/jobs/" + std::to_string(id) + "/cancel", json::object()), code);
    worst = std::max(worst, code);
    if (!answer) continue;
    if (globals.json) {
      std::cout << answer->text << "\n";
    } else {
      std::cout << "job " << id << "  " << text_at(answer->json, "cancel") << "\n";
    }
  }
  return worst;
}

struct MailboxOptions {
  std::string key;
  std::string cursor;
  int64_t limit = 100;
  int64_t wait_s = 0;
  bool take = false;
};

int mailbox(const GlobalOptions& globals, const MailboxOptions& options) {
  const auto client = connect(globals);
  const std::string base = "/v1/mailbox/" + url_encode(options.key);
  int code = kExitOk;
  std::optional<HttpAnswer> answer;
  if (options.take) {
    // The client's first call: it is never sent twice, so no taken message can be lost that way.
    answer = answer_or_report(client->post(base + "/take", json::object{{"limit", options.limit}}),
                              code);
  } else {
    std::string target = base + "?limit=" + std::to_string(options.limit) +
                         "&wait_s=" + std::to_string(options.wait_s);
    if (!options.cursor.empty()) target += "&cursor=" + url_encode(options.cursor);
    answer = answer_or_report(client->get(target), code);
  }
  if (!answer) return code;
  if (globals.json) {
    std::cout << answer->text << "\n";
    return kExitOk;
  }
  const auto messages = list_at(answer->json, "messages");
  for (const json::value& message : messages) print_message(message);
  if (messages.empty()) std::cerr << "no message under " << options.key << "\n";
  return kExitOk;
}

int pool(const GlobalOptions& globals) {
  int code = kExitOk;
  const auto answer = answer_or_report(connect(globals)->get("/v1/pool"), code);
  if (!answer) return code;
  if (globals.json) {
    std::cout << answer->text << "\n";
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"MODEL", "STATE", "UNITS", "PEAK", "RUNNING", "PARKED", "LOT", "OUTPUT TOKENS"}};
  for (const json::value& model : list_at(answer->json, "models")) {
    const auto number = [&](const char* key) { return std::to_string(number_at(model, key)); };
    rows.push_back({text_at(model, "model"), text_at(model, "state"),
                    number("in_use_units") + "/" + number("capacity_units"), number("peak_units"),
                    number("running_sequences") + "/" + number("max_num_seqs"), number("parked"),
                    number("lot_places"), number("output_tokens")});
  }
  print_table(rows);
  return kExitOk;
}

int models(const GlobalOptions& globals) {
  int code = kExitOk;
  const auto answer = answer_or_report(connect(globals)->get("/v1/models"), code);
  if (!answer) return code;
  if (globals.json) {
    std::cout << answer->text << "\n";
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"MODEL", "STATE", "CONTEXT", "UNITS", "BLOCK", "FINGERPRINT", "WEIGHTS"}};
  for (const json::value& model : list_at(answer->json, "data")) {
    const auto failure = text_at(model, "failure");
    rows.push_back({text_at(model, "id"), text_at(model, "state"),
                    std::to_string(number_at(model, "context_tokens")),
                    std::to_string(number_at(model, "capacity_units")),
                    std::to_string(number_at(model, "block_size")),
                    text_at(model, "system_fingerprint"),
                    failure.empty() ? text_at(model, "description") : failure});
  }
  print_table(rows);
  return kExitOk;
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
  auto options = std::make_shared<ListOptions>();
  CLI::App* command = app.add_subcommand("list", "Live jobs");
  command->add_option("--model", options->model, "Only this model's");
  command->add_option("--state", options->state, "scheduled, queued or claimed");
  command->add_option("--after", options->after, "Ids greater than this");
  command->add_option("--limit", options->limit, "At most so many, up to 1000");
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

void add_mailbox(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<MailboxOptions>();
  CLI::App* command = app.add_subcommand("mailbox", "Results under a mailbox key");
  command->add_option("key", options->key, "The mailbox key")->required();
  command->add_option("--cursor", options->cursor, "Only messages after this cursor (--json)");
  command->add_option("--limit", options->limit, "At most so many, up to 1000");
  command->add_option("--wait", options->wait_s, "Wait up to so many seconds for one, up to 60");
  command->add_flag("--take", options->take, "Remove what is printed");
  command->callback([options, &globals, &chosen] {
    chosen = [options, &globals] { return mailbox(globals, *options); };
  });
}

void add_pool(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  app.add_subcommand("pool", "Units in use, running and parked jobs")
      ->callback([&globals, &chosen] { chosen = [&globals] { return pool(globals); }; });
}

void add_models(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  app.add_subcommand("models", "Models and their state")->callback([&globals, &chosen] {
    chosen = [&globals] { return models(globals); };
  });
}

}  // namespace parkd::jobctl
