// jobctl submit: one job, from a prompt, a body in a file, or a body on standard input.
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <optional>

#include "lib/base/json_reader.h"
#include "lib/base/raw_json.h"
#include "lib/base/rfc3339.h"
#include "lib/base/sampling_fields.h"
#include "lib/base/text.h"
#include "lib/job/bounds.h"
#include "lib/job/endpoints.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/follow.h"
#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/priority_option.h"
#include "tools/jobctl/table.h"
#include "tools/jobctl/time_option.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

struct SubmitOptions {
  std::string model;
  std::string endpoint{kEndpoints[0].path};
  std::optional<std::string> prompt;
  std::string system;
  std::string file;
  std::map<std::string_view, std::optional<double>> sampling;  // of kSamplingFields, by name
  std::optional<int64_t> top_k;
  std::optional<int64_t> max_tokens;
  std::optional<uint64_t> seed;
  std::optional<int64_t> top_logprobs;
  bool logprobs = false;
  std::vector<std::string> stop;
  std::string mailbox_key;
  std::string custom_id;
  std::string priority;
  std::string deadline;
  std::string run_at;
  std::string run_timeout;
  std::string retention;
  std::string idempotency_key;
  bool wait = false;
  bool stream = false;
  std::string wait_timeout;
};

Result<std::string> read_body(const std::string& file) {
  std::string text;
  if (file == "-") {
    text.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) return invalid("cannot read " + file);
    text.assign(std::istreambuf_iterator<char>(stream), {});
  }
  return text;
}

// The request body: the file's as it stands, or one made of the prompt; with the sampling options
// put in.
Result<std::string> make_body(const SubmitOptions& options) {
  std::string text = "{}";
  if (!options.prompt) {
    const std::string file = options.file.empty() ? "-" : options.file;
    if (file == "-" && ::isatty(STDIN_FILENO) != 0) {
      return invalid("give --prompt, --file BODY.json, or a body on standard input");
    }
    PARKD_ASSIGN_OR_RETURN(text, read_body(file));
    const std::string where = file == "-" ? "on standard input" : "in " + file;
    JsonMemory memory(text.size());
    PARKD_ASSIGN_OR_RETURN(const json::value parsed,
                           read_json(text, "the body " + where, kChatJsonDepthMax, memory));
    if (!parsed.is_object()) return invalid("the body " + where + " is not a JSON object");
  }
  RawObject body(without_mark(text));
  const auto put = [&body](std::string_view key, const json::value& value) {
    body.set(key, json::serialize(value));
  };
  const EndpointPath* known = find_endpoint(options.endpoint);  // what is none, the door refuses
  const Endpoint endpoint = known == nullptr ? Endpoint::completions : known->endpoint;
  const bool is_chat = endpoint == Endpoint::chat;
  if (options.prompt && is_chat) {
    json::array messages;
    if (!options.system.empty()) {
      messages.push_back({{"role", "system"}, {"content", options.system}});
    }
    messages.push_back({{"role", "user"}, {"content", *options.prompt}});
    put("messages", messages);
  } else if (options.prompt) {
    if (!options.system.empty() && endpoint == Endpoint::completions) {
      return invalid("--system is for endpoint " + path_of(Endpoint::chat) + ": " +
                     options.endpoint + " has a prompt alone");
    }
    if (!options.system.empty()) put("instructions", json::string(options.system));
    put(known == nullptr ? "prompt" : known->prompt_field, json::string(*options.prompt));
  }
  for (const auto& [name, value] : options.sampling) {
    if (value) put(name, *value);
  }
  if (options.top_k) put("top_k", *options.top_k);
  if (options.max_tokens) {
    put(known == nullptr ? "max_tokens" : known->max_tokens_field, *options.max_tokens);
  }
  if (options.seed) put("seed", *options.seed);
  if (is_chat) {
    if (options.logprobs || options.top_logprobs) put("logprobs", true);
    if (options.top_logprobs) put("top_logprobs", *options.top_logprobs);
  } else if (options.logprobs || options.top_logprobs) {  // one number says both there
    put("logprobs", options.top_logprobs.value_or(0));
  }
  if (!options.stop.empty()) put("stop", json::value_from(options.stop));
  return body.text();
}

// The option of a field: "--run-at" of "run_at".
std::string option_of(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

Status put_instant(json::object& job, const char* key, const std::string& text, WallTime now) {
  if (text.empty()) return {};
  PARKD_ASSIGN_OR_RETURN(const std::string instant, parse_instant(option_of(key), text, now));
  job[key] = instant;
  return {};
}

Status put_duration(json::object& job, const char* key, const std::string& text) {
  if (text.empty()) return {};
  PARKD_ASSIGN_OR_RETURN(const auto duration, parse_duration(option_of(key), text));
  job[std::string(key) + "_s"] = duration.count();
  return {};
}

// The JSON of the job.
Result<std::string> make_job(const SubmitOptions& options) {
  SystemClock clock;
  const WallTime now = clock.now();
  json::object job;
  PARKD_ASSIGN_OR_RETURN(const std::string body, make_body(options));
  const auto put = [&job](const char* key, const std::string& text) {
    if (!text.empty()) job[key] = text;
  };
  put("model", options.model);
  put("endpoint", options.endpoint);
  put("mailbox_key", options.mailbox_key);
  put("custom_id", options.custom_id);
  // Only of such a daemon tells the tokens.
  put("priority", options.stream && options.priority.empty() ? "high" : options.priority);
  // Always one, so that a submit whose answer was lost can be sent again and stays one job.
  job["idempotency_key"] =
      options.idempotency_key.empty() ? "jobctl-" + random_hex(16) : options.idempotency_key;
  PARKD_RETURN_IF_ERROR(put_instant(job, "deadline", options.deadline, now));
  PARKD_RETURN_IF_ERROR(put_instant(job, "run_at", options.run_at, now));
  if (!options.deadline.empty() && !options.run_at.empty()) {
    const std::string run_at(job["run_at"].as_string());
    const std::string deadline(job["deadline"].as_string());
    if (*parse_rfc3339(run_at) >= *parse_rfc3339(deadline)) {
      return invalid("--run-at " + options.run_at + " (" + run_at + ") is not before --deadline " +
                     options.deadline + " (" + deadline + "): the job could never run");
    }
  }
  PARKD_RETURN_IF_ERROR(put_duration(job, "run_timeout", options.run_timeout));
  PARKD_RETURN_IF_ERROR(put_duration(job, "retention", options.retention));
  RawObject whole(json::serialize(job));
  whole.set("body", body);
  return whole.text();
}

int print_message(const GlobalOptions& globals, const json::value& message) {
  const bool completed = text_at(message, "outcome") == "completed";
  if (globals.json) {
    std::cout << json::serialize(message) << "\n";
  } else {
    std::cout << for_reader(answer_text(message)) << "\n";
    if (!completed) {
      std::cerr << "jobctl: " << for_reader(outcome_text(message), STDERR_FILENO) << "\n";
    }
  }
  return completed ? kExitOk : kExitFailedOutcome;
}

// Reads the key's messages until the job's own is there.
int wait_for(Client& client, const GlobalOptions& globals, int64_t id, const std::string& key,
             std::optional<std::chrono::seconds> limit) {
  SystemClock clock;
  const SteadyTime start = clock.steady_now();
  MailboxRequest request;
  request.key = key;
  request.job = id;
  for (;;) {
    request.wait_s = 20;
    if (limit) {
      const auto left =
          *limit - std::chrono::duration_cast<std::chrono::seconds>(clock.steady_now() - start);
      if (left.count() <= 0) {
        std::cerr << "jobctl: job " << id << " has not finished; see: jobctl status " << id << "\n";
        return kExitTimedOut;
      }
      request.wait_s = std::min<int64_t>(request.wait_s, left.count());
    }
    const auto page = client.mailbox(request);
    if (page.status().code() == StatusCode::unavailable) {
      // The job is on disk; a daemon, or a database, that comes back has it.
      std::cerr << "jobctl: waiting: " << page.status().message() << "\n";
      ::sleep(1);
      continue;
    }
    if (!page.ok()) return report(page.status());
    if (const auto* messages = find(page->json, "messages"); messages && messages->is_array()) {
      for (const json::value& message : messages->get_array()) {
        if (number_at(message, "id") == id) return print_message(globals, message);
      }
    }
    if (const std::string next = text_at(page->json, "next_cursor"); !next.empty()) {
      request.cursor = next;
    }
  }
}

// A repeat with a time from now is the same request, though the instant is another: it is sent with
// the first one's. `refused`: that the key belongs to a job with other content.
Result<Answer> submit_as_first(Client& client, const SubmitOptions& options,
                               const std::string& request, const Status& refused) {
  RawObject job(request);
  constexpr std::string_view kOwner = "belongs to job ";
  const size_t at = refused.message().find(kOwner);
  if (options.idempotency_key.empty() || at == std::string::npos) return refused;
  const int64_t id = std::strtoll(refused.message().c_str() + at + kOwner.size(), nullptr, 10);
  const auto first = client.job(id);
  std::string relative;
  for (const auto& [key, text] :
       {std::pair("deadline", &options.deadline), std::pair("run_at", &options.run_at)}) {
    if (!is_relative(*text)) continue;
    relative += (relative.empty() ? "" : " and ") + option_of(key) + " " + *text;
    if (first.ok()) job.set_text(key, text_at(first->json, key));
  }
  if (relative.empty()) return refused;
  if (first.ok() && !text_at(first->json, "state").empty()) {
    auto again = client.submit(job.text());
    if (again.ok()) return again;
  }
  return Status(refused.code(), refused.message() + "; " + relative +
                                    " is another instant each time: give that of the first submit")
      .with_param(refused.param());
}

int submit(const GlobalOptions& globals, const SubmitOptions& options) {
  const EndpointPath* endpoint = find_endpoint(options.endpoint);
  if (options.stream && endpoint != nullptr && !endpoint->streams) {
    return report(invalid("--stream: " + unstreamed_endpoint(options.endpoint)));
  }
  const auto job = make_job(options);
  if (!job.ok()) return report(job.status());
  std::optional<std::chrono::seconds> limit;
  if (!options.wait_timeout.empty()) {
    const auto parsed = parse_duration("--wait-timeout", options.wait_timeout);
    if (!parsed.ok()) return report(parsed.status());
    limit = *parsed;
  }
  const auto client = connect(globals);
  if (!client.ok()) return report(client.status());
  if (options.stream) {
    if (const Status can = (*client)->can_stream(); !can.ok()) return report(can);
  }
  auto answer = repeating([&] { return (*client)->submit(*job); });
  if (answer.status().code() == StatusCode::conflict) {
    answer = submit_as_first(**client, options, *job, answer.status());
  }
  if (!answer.ok()) return report(answer.status());
  const int64_t id = number_at(answer->json, "id");
  const std::string key = text_at(answer->json, "mailbox_key");
  if (options.stream) return follow(**client, globals, id);
  if (options.wait) return wait_for(**client, globals, id, key, limit);
  return show(globals, answer, [&](const json::value&) {
    std::cout << "job " << id << " accepted; results: jobctl mailbox " << key << "\n";
  });
}

}  // namespace

void add_submit(CLI::App& app, const GlobalOptions& globals, Chosen& chosen) {
  auto options = std::make_shared<SubmitOptions>();
  CLI::App* command = app.add_subcommand("submit", "Submit one job");
  command->add_option("--model", options->model, "Model (default: the config's default_model)");
  command
      ->add_option("--endpoint", options->endpoint,
                   "What the body is for: " + std::string(kEndpoints[0].path) + ", " +
                       path_of(Endpoint::completions) + " or " + path_of(Endpoint::responses))
      ->capture_default_str();
  auto* prompt = command->add_option("--prompt", options->prompt,
                                     "The user's message, or the text to go on from");
  command->add_option("--system", options->system, "A system message before it")->needs(prompt);
  command->add_option("--file", options->file, "An OpenAI request body (JSON); - = standard input")
      ->excludes(prompt);
  for (const SamplingField& field : kSamplingFields) {
    if (field.of_jobctl.empty()) continue;
    command->add_option(option_of(std::string(field.name)), options->sampling[field.name],
                        std::string(field.of_jobctl));
  }
  command->add_option("--top-k", options->top_k, "Keep the k best tokens; 0 = all");
  command->add_option("--max-tokens", options->max_tokens,
                      "Longest answer, in tokens (default: a fifth of the model's context)");
  command->add_option("--seed", options->seed, "Same seed, same answer");
  command->add_option("--stop", options->stop, "Stop before this text (up to 4)");
  command->add_flag("--logprobs", options->logprobs, "Report log-probabilities");
  command->add_option("--top-logprobs", options->top_logprobs, "And so many alternatives, 0..20");
  command->add_option("--mailbox-key", options->mailbox_key, "Where the result goes");
  command->add_option("--custom-id", options->custom_id, "Your own name for the job");
  command->add_option("--priority", options->priority, "critical, high, normal or low")
      ->check(is_priority());
  command
      ->add_option("--deadline", options->deadline,
                   "+8h, 2026-12-01T18:00 or with a zone: not run by then, it fails")
      ->check(refuse_empty);
  command->add_option("--run-at", options->run_at, "Not before this: +10m, or a time")
      ->check(refuse_empty);
  command->add_option("--run-timeout", options->run_timeout, "Longest run in the engine: 90s, 15m")
      ->check(refuse_empty);
  command->add_option("--retention", options->retention, "Life of the result: 1m to 30d")
      ->check(refuse_empty);
  command->add_option("--idempotency-key", options->idempotency_key,
                      "A submit with the same key is the same job");
  auto* wait = command->add_flag("--wait", options->wait, "Wait for the answer and print it");
  command
      ->add_flag("--stream", options->stream,
                 "Print the answer as it is written (priority high where none is given)")
      ->excludes(wait);
  command->add_option("--wait-timeout", options->wait_timeout, "Give up waiting after 30s, 5m ...")
      ->check(refuse_empty);
  command->callback(
      [options, &globals, &chosen] { chosen = [&] { return submit(globals, *options); }; });
  (void)prompt;
}

}  // namespace parkd::jobctl
