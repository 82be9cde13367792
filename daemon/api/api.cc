#include "daemon/api/api.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "lib/base/check.h"
#include "lib/base/json_reader.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

// Whether the work of a route is a submit's: long.
bool is_heavy(RouteId route) {
  return route == RouteId::submit;
}

}  // namespace

Status check_query(const HttpRequest& request, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : request.query) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string names;
    for (const std::string_view one : known)
      names += (names.empty() ? "" : ", ") + std::string(one);
    const std::string shown = shown_name(name);
    return invalid_param(shown, "unknown query parameter " + shown + "; there are " + names);
  }
  return {};
}

Result<int64_t> query_number(const HttpRequest& request, const std::string& name, int64_t otherwise,
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
      models_(std::make_shared<const ModelTable>()),
      work_(parts.blocking, parts.blocking_threads) {}

Status Api::may_accept() const {
  if (stopping_) return unavailable("parkd is stopping");
  return parts_.health.may_accept();
}

void Api::stop_accepting() {
  stopping_ = true;
  waiters_.end_all();
}

HttpAdmission Api::admit(const HttpRequest& request) const {
  const RouteMatch match = match_route(request.method, request.path);
  HttpAdmission admission;
  if (match.route == nullptr) {
    const Status none = not_found("there is no " + request.method + " " + request.path);
    admission.refusal = match.allow.empty() ? error_reply(none) : error_reply(405, none);
    admission.refusal->allow = match.allow;
    return admission;
  }
  const auto request_bytes_max = static_cast<size_t>(parts_.config.daemon.max_request_bytes);
  const bool by_config = match.route->body_bytes_max >= request_bytes_max;
  admission.body_bytes_max = by_config ? request_bytes_max : match.route->body_bytes_max;
  admission.route = match.route->name();
  if (by_config) admission.route += " (daemon.max_request_bytes)";
  return admission;
}

void Api::handle(HttpRequest request, Reply reply) {
  const RouteMatch match = match_route(request.method, request.path);
  if (match.route == nullptr) return reply(*admit(request).refusal);
  const auto caller = tenants_.caller(request.peer_uid, request.tenant);
  if (!caller.ok()) return reply(error_reply(caller.status()));
  const RouteId route = match.route->id;
  if (route == RouteId::healthz) return reply({.body = R"({"status":"ok"})"});
  const auto asked = std::make_shared<Asked>();
  asked->part = std::string(match.part);
  asked->request = std::move(request);
  asked->caller = *caller;
  asked->reply = std::move(reply);
  asked->models = models_;
  asked->may_accept = may_accept();
  asked->stopping = stopping_;
  asked->may_be_critical = caller->privileged || tenants_.may_be_critical(caller->tenant);
  if (route == RouteId::readyz || route == RouteId::metrics) {
    asked->notices = parts_.health.notices();
  }
  if (connections_ != nullptr) asked->connections = connections_->figures();
  if (route == RouteId::read_mailbox) return read_mailbox(asked);
  const auto task = [this, route, asked] { begin(route, asked); };
  const uid_t uid = asked->request.peer_uid;
  is_heavy(route) ? work_.heavy(uid, asked->reply, task) : work_.quick(uid, asked->reply, task);
}

void Api::begin(RouteId route, const AskedPtr& asked) {
  switch (route) {
    case RouteId::submit:
      return submit(asked);
    case RouteId::list_jobs:
      return list_jobs(asked);
    case RouteId::requeue:
      return requeue(asked);
    case RouteId::get_job:
      return get_job(asked);
    case RouteId::cancel_job:
      return cancel_job(asked);
    case RouteId::open_batch:
      return open_batch(asked);
    case RouteId::list_batches:
      return list_batches(asked);
    case RouteId::get_batch:
      return get_batch(asked);
    case RouteId::seal_batch:
      return seal_batch(asked);
    case RouteId::cancel_batch:
      return cancel_batch(asked);
    case RouteId::take:
      return take_messages(asked);
    case RouteId::models:
      return models(asked);
    case RouteId::pool:
      return pool(asked);
    case RouteId::readyz:
      return ready(asked);
    case RouteId::metrics:
      return metrics(asked);
    case RouteId::read_mailbox:
    case RouteId::healthz:
      break;  // answered on the control thread
  }
  PARKD_CHECK(false, "a route that the control thread answers came here");
}

}  // namespace parkd
