#include "daemon/api.h"

#include <charconv>
#include <string_view>

#include "lib/base/log.h"
#include "lib/job/completion_response.h"

namespace parkd {
namespace {

constexpr std::string_view kJobs = "/v1/jobs/";
constexpr std::string_view kBatches = "/v1/batches/";
constexpr std::string_view kMailbox = "/v1/mailbox/";

ApiReply no_such_url(const ApiRequest& request) {
  return error_reply(not_found("there is no " + request.method + " " + request.path));
}

}  // namespace

ApiReply error_reply(const Status& status) {
  ApiReply reply;
  reply.status = http_status_of(status.code());
  reply.body = render_error(status);
  if (reply.status == 429 || reply.status == 503) reply.retry_after_s = "1";
  return reply;
}

Result<int64_t> query_number(const ApiRequest& request, const std::string& name, int64_t otherwise,
                             int64_t min, int64_t max) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return otherwise;
  int64_t value = 0;
  const char* end = found->second.data() + found->second.size();
  const auto [rest, error] = std::from_chars(found->second.data(), end, value);
  if (error != std::errc() || rest != end || value < min || value > max) {
    return invalid_param(name, name + " is \"" + found->second +
                                   "\", it must be a whole number from " + std::to_string(min) +
                                   " to " + std::to_string(max));
  }
  return value;
}

Api::Api(Parts parts)
    : parts_(parts),
      tenants_(parts.config.daemon),
      waiters_(parts.io),
      models_(std::make_shared<const ModelTable>()) {}

Status Api::may_accept() const {
  if (stopping_) return unavailable("parkd is stopping");
  return parts_.health.may_accept();
}

void Api::stop_accepting() {
  stopping_ = true;
  waiters_.end_all();
}

void Api::handle(ApiRequest request, Reply reply) {
  const auto caller = tenants_.caller(request.peer_uid, request.tenant);
  if (!caller.ok()) return reply(error_reply(caller.status()));
  route(request, *caller, std::move(reply));
}

void Api::route(const ApiRequest& request, const Caller& caller, Reply reply) {
  const std::string& path = request.path;
  const bool get = request.method == "GET";
  if (path == "/v1/jobs" && request.method == "POST") return submit(request, caller, reply);
  if (path == "/v1/jobs" && get) return list_jobs(request, caller, reply);
  if (path == "/v1/jobs/requeue" && request.method == "POST") {
    return requeue(request, caller, reply);
  }
  if (path == "/v1/batches" && get) return list_batches(request, caller, reply);
  if (path == "/v1/batches" && request.method == "POST") return open_batch(request, caller, reply);
  if (path.rfind(kBatches, 0) == 0) {
    return route_batch(request, std::string_view(path).substr(kBatches.size()), caller, reply);
  }
  if (path.rfind(kJobs, 0) == 0) return route_job(request, caller, reply);
  if (path.rfind(kMailbox, 0) == 0) return route_mailbox(request, caller, reply);
  if (!get) return reply(no_such_url(request));
  if (path == "/v1/models") return models(reply);
  if (path == "/v1/pool") return pool(reply);
  if (path == "/healthz") return reply({.body = R"({"status":"ok"})"});
  if (path == "/readyz") return ready(reply);
  if (path == "/metrics") return metrics(reply);
  reply(no_such_url(request));
}

// /v1/jobs/ID and /v1/jobs/ID/cancel
void Api::route_job(const ApiRequest& request, const Caller& caller, Reply reply) {
  const std::string_view rest = std::string_view(request.path).substr(kJobs.size());
  JobId id = 0;
  const char* end = rest.data() + rest.size();
  const auto [after, error] = std::from_chars(rest.data(), end, id);
  const std::string_view verb(after, static_cast<size_t>(end - after));
  if (error != std::errc()) {
    return reply(error_reply(invalid_param("id", "a job's id is a whole number")));
  }
  if (verb.empty() && request.method == "GET") return get_job(id, caller, reply);
  if (verb == "/cancel" && request.method == "POST") return cancel_job(id, caller, reply);
  reply(no_such_url(request));
}

// /v1/mailbox/KEY and /v1/mailbox/KEY/take; a key may hold slashes.
void Api::route_mailbox(const ApiRequest& request, const Caller& caller, Reply reply) {
  constexpr std::string_view kTake = "/take";
  std::string key = request.path.substr(kMailbox.size());
  const bool ends_in_take =
      key.size() > kTake.size() && key.compare(key.size() - kTake.size(), kTake.size(), kTake) == 0;
  if (request.method == "POST" && ends_in_take) {
    key.resize(key.size() - kTake.size());
    return take_messages(request, key, caller, reply);
  }
  if (request.method == "GET" && !key.empty()) return read_mailbox(request, key, caller, reply);
  reply(no_such_url(request));
}

}  // namespace parkd
