#include <unistd.h>

#include <boost/json.hpp>

#include "lib/openai/wire.h"
#include "tests/crash/kills_door.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::testing {
namespace {

namespace json = boost::json;
using jobctl::find;
using jobctl::number_at;
using jobctl::text_at;
using Answer = Result<jobctl::HttpAnswer>;

constexpr std::chrono::seconds kPatience(120);

bool is_done(const Answer& answer) {
  return answer.ok() && answer->status >= 200 && answer->status < 300;
}

// 503 is said of what may have been stored, too.
Said said(const Answer& answer) {
  if (is_done(answer)) return Said::done;
  if (!answer.ok() || answer->status >= 500) return Said::nobody_knows;
  return Said::refused;
}

template <class T>
Told<T> told(const Answer& answer, T value) {
  return {said(answer), std::move(value), answer.ok() ? answer->text : answer.status().to_string()};
}

Shown shown(const json::value& message) {
  Shown shown;
  shown.id = number_at(message, "id");
  shown.sequence = parse_cursor(text_at(message, "cursor")).value_or(0);
  shown.tenant = text_at(message, "tenant");
  shown.mailbox_key = text_at(message, "mailbox_key");
  shown.custom_id = text_at(message, "custom_id");
  shown.batch = text_at(message, "batch_id");
  shown.outcome = text_at(message, "outcome");
  shown.text = jobctl::answer_text(message);
  const json::value* choices = find(message, "response.body.choices");
  if (choices != nullptr && choices->is_array() && !choices->get_array().empty()) {
    shown.truncated = text_at(choices->get_array().front(), "finish_reason") == "length";
  }
  return shown;
}

std::vector<Shown> messages_of(const json::value& page) {
  std::vector<Shown> all;
  const json::value* messages = find(page, "messages");
  if (messages == nullptr || !messages->is_array()) return all;
  for (const json::value& message : messages->get_array()) all.push_back(shown(message));
  return all;
}

json::object http_job_of(const Order& order) {
  json::object job = job_of(order);
  job["retention_s"] = order.retention_s;
  return job;
}

}  // namespace

std::string body_of(int content) {
  // The last ones are found running by most kills.
  const int max_tokens = content >= kContents - 4 ? 300 + 100 * (content % 4) : 2 + content;
  return R"({"messages":[{"role":"user","content":"Tell me about )" + std::to_string(content) +
         R"(."}],"max_tokens":)" + std::to_string(max_tokens) + R"(,"seed":)" +
         std::to_string(content) + "}";
}

json::object job_of(const Order& order) {
  json::object job;
  job["model"] = "tiny";
  job["body"] = json::parse(body_of(order.content));
  job["custom_id"] = order.custom_id;
  job["mailbox_key"] = order.box.key;
  if (order.keyed) job["idempotency_key"] = order.custom_id;
  if (!order.batch.empty()) job["batch_id"] = order.batch;
  if (!order.deadline.empty()) job["deadline"] = order.deadline;
  return job;
}

HttpDoor::HttpDoor(std::vector<std::string> sockets, std::string tenant, uint64_t seed)
    : sockets_(std::move(sockets)), tenant_(std::move(tenant)), random_(seed) {}

jobctl::HttpClient& HttpDoor::some_client() {
  const std::string& socket = sockets_[random_() % sockets_.size()];
  auto& client = clients_[socket];
  if (!client) client = std::make_unique<jobctl::HttpClient>(socket, tenant_, kPatience);
  return *client;
}

Answer HttpDoor::once(const std::string& target, const json::value& body) {
  for (;;) {
    jobctl::HttpClient client(sockets_[random_() % sockets_.size()], tenant_, kPatience);
    Answer answer = client.post(target, body);
    const bool was_sent =
        answer.ok() || answer.status().message().find("cannot reach") == std::string::npos;
    if (was_sent) return answer;
    ::usleep(2000);  // nobody listens: it is no doubt
  }
}

Told<Account::Ids> HttpDoor::submit(const std::vector<Order>& orders) {
  json::array jobs;
  for (const Order& order : orders) jobs.push_back(http_job_of(order));
  const json::object body{{"jobs", std::move(jobs)}};
  const bool keyed = orders.front().keyed;
  const Answer answer = keyed ? some_client().post("/v1/jobs", body) : once("/v1/jobs", body);
  Account::Ids ids;
  if (is_done(answer)) {
    for (const auto& job : find(answer->json, "jobs")->get_array()) {
      ids.push_back(number_at(job, "id"));
    }
  }
  return told(answer, std::move(ids));
}

Told<ShownPage> HttpDoor::fetch(const std::string& key, uint64_t after, int limit, int wait_s) {
  std::string target = "/v1/mailbox/" + key + "?limit=" + std::to_string(limit);
  if (wait_s > 0) target += "&wait_s=" + std::to_string(wait_s);
  if (after > 0) target += "&cursor=" + render_cursor(after);
  const Answer answer = some_client().get(target);
  ShownPage page;
  if (is_done(answer)) {
    page.messages = messages_of(answer->json);
    page.next = parse_cursor(text_at(answer->json, "next_cursor")).value_or(0);
  }
  return told(answer, std::move(page));
}

Told<std::vector<Shown>> HttpDoor::take(const std::string& key, int limit) {
  Told<ShownPage> oldest = fetch(key, 0, limit, 0);
  if (oldest.said != Said::done || oldest.value.messages.empty()) {
    return {Said::refused, {}, oldest.why};  // nothing was asked for
  }
  json::array cursors;
  for (const Shown& message : oldest.value.messages) {
    cursors.emplace_back(render_cursor(message.sequence));
  }
  const Answer answer = once("/v1/mailbox/" + key + "/take", json::object{{"cursors", cursors}});
  return told(answer,
              is_done(answer) ? messages_of(answer->json) : std::move(oldest.value.messages));
}

Told<std::string> HttpDoor::cancel(int64_t id) {
  const Answer answer =
      some_client().post("/v1/jobs/" + std::to_string(id) + "/cancel", json::object());
  if (answer.ok() && answer->status == 404) return {Said::done, "not_found", answer->text};
  return told(answer, is_done(answer) ? text_at(answer->json, "cancel") : std::string());
}

Told<std::map<int64_t, int64_t>> HttpDoor::requeue(int64_t id) {
  const Answer answer =
      some_client().post("/v1/jobs/requeue", json::object{{"ids", json::array{id}}});
  std::map<int64_t, int64_t> became;
  if (is_done(answer)) {
    for (const auto& job : find(answer->json, "jobs")->get_array()) {
      became[number_at(job, "requeued_from")] = number_at(job, "id");
    }
  }
  return told(answer, std::move(became));
}

Told<std::string> HttpDoor::open_batch(const std::string& key, const std::string& deadline) {
  json::object body{{"idempotency_key", key}, {"retention_s", kBatchRetention_s}};
  if (!deadline.empty()) body["deadline"] = deadline;
  const Answer answer = some_client().post("/v1/batches", body);
  return told(answer, is_done(answer) ? text_at(answer->json, "id") : std::string());
}

Told<bool> HttpDoor::seal(const std::string& batch) {
  return told(some_client().post("/v1/batches/" + batch + "/seal", json::object()), true);
}

Told<bool> HttpDoor::cancel_batch(const std::string& batch) {
  return told(some_client().post("/v1/batches/" + batch + "/cancel", json::object()), true);
}

Told<std::string> HttpDoor::outcome_of(int64_t id) {
  const Answer answer = some_client().get("/v1/jobs/" + std::to_string(id));
  return told(answer, is_done(answer) ? text_at(answer->json, "outcome") : std::string());
}

Told<BatchRow> HttpDoor::batch(const std::string& id) {
  const Answer answer = some_client().get("/v1/batches/" + id);
  BatchRow row;
  if (is_done(answer)) {
    row.status = text_at(answer->json, "status");
    row.total = number_at(answer->json, "total");
    row.truncated = number_at(answer->json, "truncated");
    for (const char* outcome :
         {"completed", "failed", "cancelled", "deadline_missed", "quarantined"}) {
      row.ended[outcome] = number_at(answer->json, outcome);
    }
  }
  return told(answer, std::move(row));
}

}  // namespace parkd::testing
