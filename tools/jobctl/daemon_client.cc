#include "tools/jobctl/daemon_client.h"

#include <algorithm>
#include <boost/json.hpp>
#include <string_view>
#include <utility>

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

constexpr auto kCallTimeout = std::chrono::seconds(120);  // above the longest long poll

Result<Answer> answer_of(Result<HttpAnswer> http) {
  if (!http.ok()) return http.status();
  if (http->status >= 300) return status_of(*http);
  return Answer{std::move(http->text), std::move(http->json)};
}

std::string batch_target(const std::string& id, const char* verb) {
  return "/v1/batches/" + url_encode(id) + verb;
}

// Of the lines of a server-sent event.
StreamEvent event_of(std::string_view lines) {
  StreamEvent event;
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    for (const auto& [name, field] :
         {std::pair("id: ", &event.id), std::pair("event: ", &event.name),
          std::pair("data: ", &event.data)}) {
      if (line.starts_with(name)) *field = line.substr(std::string_view(name).size());
    }
  }
  return event;
}

}  // namespace

DaemonClient::DaemonClient(std::string socket_path, std::string tenant)
    : socket_path_(std::move(socket_path)),
      tenant_(std::move(tenant)),
      http_(socket_path_, tenant_, kCallTimeout) {}

Result<Answer> DaemonClient::submit(const std::string& request) {
  return answer_of(http_.post_text("/v1/jobs", request));
}

Result<Answer> DaemonClient::job(int64_t id) {
  return answer_of(http_.get("/v1/jobs/" + std::to_string(id)));
}

Result<Answer> DaemonClient::list(const ListRequest& request) {
  std::string target =
      "/v1/jobs?limit=" + std::to_string(request.limit) + "&after=" + std::to_string(request.after);
  if (!request.model.empty()) target += "&model=" + url_encode(request.model);
  if (!request.state.empty()) target += "&state=" + url_encode(request.state);
  if (!request.batch_id.empty()) target += "&batch_id=" + url_encode(request.batch_id);
  if (!request.mailbox_key.empty()) target += "&mailbox_key=" + url_encode(request.mailbox_key);
  if (!request.custom_id.empty()) target += "&custom_id=" + url_encode(request.custom_id);
  return answer_of(http_.get(target));
}

Result<Answer> DaemonClient::cancel(int64_t id) {
  return answer_of(http_.post("/v1/jobs/" + std::to_string(id) + "/cancel", json::object()));
}

Result<Answer> DaemonClient::requeue(const Requeue& what) {
  json::object body;
  if (!what.ids.empty()) body["ids"] = json::value_from(what.ids);
  if (!what.failed_with.empty()) body["failed_with"] = json::value_from(what.failed_with);
  if (!what.batch_id.empty()) body["batch_id"] = what.batch_id;
  if (!what.model.empty()) body["model"] = what.model;
  return answer_of(http_.post("/v1/jobs/requeue", body));
}

Status DaemonClient::stream(int64_t id, const std::string& last_event_id,
                            const std::function<void(const StreamEvent&)>& on_event) {
  std::string text;  // that is not a whole event yet
  const auto on_piece = [&](std::string_view piece) {
    text += piece;
    size_t begin = 0;
    for (size_t end; (end = text.find("\n\n", begin)) != text.npos; begin = end + 2) {
      const StreamEvent event = event_of(std::string_view(text).substr(begin, end - begin));
      if (!event.data.empty()) on_event(event);  // else a comment
    }
    text.erase(0, begin);
  };
  const auto answer =
      http_.stream("/v1/jobs/" + std::to_string(id) + "/stream", last_event_id, on_piece);
  if (!answer.ok()) return answer.status();
  return answer->status == 200 ? Status() : status_of(*answer);
}

Result<Answer> DaemonClient::mailbox(const MailboxRequest& request) {
  std::string target = "/v1/mailbox/" + url_encode(request.key) +
                       "?limit=" + std::to_string(request.limit) +
                       "&wait_s=" + std::to_string(request.wait_s);
  if (!request.cursor.empty()) target += "&cursor=" + url_encode(request.cursor);
  if (request.job != 0) target += "&job=" + std::to_string(request.job);
  if (request.skip_damaged) target += "&skip_damaged=1";
  return answer_of(http_.get(target));
}

Status DaemonClient::take(const std::string& key, int64_t limit,
                          const std::function<Status(const Answer&)>& keep) {
  // A client's first call is never sent twice, so no taken message can be lost that way.
  HttpClient once(socket_path_, tenant_, kCallTimeout);
  const auto answer = answer_of(
      once.post("/v1/mailbox/" + url_encode(key) + "/take", json::object{{"limit", limit}}));
  return answer.ok() ? keep(*answer) : answer.status();
}

Result<Answer> DaemonClient::open_batch(const json::object& request) {
  return answer_of(http_.post("/v1/batches", request));
}

Result<Answer> DaemonClient::batch(const std::string& id) {
  return answer_of(http_.get(batch_target(id, "")));
}

Result<Answer> DaemonClient::seal_batch(const std::string& id) {
  return answer_of(http_.post(batch_target(id, "/seal"), json::object()));
}

Result<Answer> DaemonClient::cancel_batch(const std::string& id) {
  return answer_of(http_.post(batch_target(id, "/cancel"), json::object()));
}

Result<Answer> DaemonClient::models() {
  return answer_of(http_.get("/v1/models"));
}

Result<Answer> DaemonClient::pool() {
  return answer_of(http_.get("/v1/pool"));
}

Result<Answer> make_answer(std::string text) {
  json::error_code error;
  Answer answer;
  answer.json = json::parse(text, error);
  if (error) return internal_error("an answer is not JSON: " + error.message());
  answer.text = std::move(text);
  return answer;
}

}  // namespace parkd::jobctl
