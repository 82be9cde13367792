#include "daemon/api/api.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "lib/base/json_reader.h"

namespace parkd {
namespace {

// Errors: invalid, when the query has a name that the route does not know.
Status check_query(const HttpRequest& request, const Route& route) {
  const std::vector<std::string_view> known = words_of(route.query);
  for (const auto& [name, value] : request.query) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string shown = shown_name(name);
    std::string why = "unknown query parameter " + shown;
    for (size_t i = 0; i < known.size(); ++i) {
      why += (i == 0 ? "; there are " : ", ") + std::string(known[i]);
    }
    return invalid_param(shown, why);
  }
  return {};
}

}  // namespace

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

Result<JobId> read_job_id(std::string_view text) {
  JobId id = 0;
  const char* end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), end, id);
  if (error != std::errc() || after != end) {
    return invalid_param("id", "id is \"" + shown_name(text) + "\"; a job's id is a whole number");
  }
  return id;
}

Status no_such_job(JobId id) {
  return not_found("there is no job " + std::to_string(id));
}

Api::Api(Parts parts)
    : parts_(parts),
      tenants_(parts.config.daemon),
      tcp_(parts.config.daemon),
      waiters_(parts.io),
      callers_(parts.io, parts.callers),
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

void Api::drained() {
  drained_ = true;
  waiters_.end_all();
}

HttpAdmission Api::admit(const HttpRequest& request) {
  HttpAdmission admission;
  admission.who = request.who;
  const RouteMatch match = match_route(request.method, request.path);
  std::optional<RouteBody> body;
  if (match.route != nullptr) body = match.route->body;
  if (request.who.by_tcp) admission.refusal = tcp_.refused_by_form(request, body);
  if (admission.refusal) return admission;
  if (match.route == nullptr) {
    const Status none = not_found("there is no " + request.method + " " + request.path);
    admission.refusal = match.allow.empty() ? error_reply(none) : error_reply(405, none);
    admission.refusal->allow = match.allow;
    return admission;
  }
  const Route& route = *match.route;
  admission.route = route.name();
  if (request.who.by_tcp && route.access != RouteAccess::anyone) {
    admission.refusal = tcp_.identify(request, admission);
    if (admission.refusal) return admission;
  }
  if (route.access == RouteAccess::tenant) {
    auto who = tenants_.act_as(admission.who, request.tenant);
    if (!who.ok()) {
      admission.refusal = error_reply(who.status());
      return admission;
    }
    admission.who = *std::move(who);
  }
  if (const Status known = check_query(request, route); !known.ok()) {
    admission.refusal = error_reply(known);
    return admission;
  }
  const auto request_bytes_max = static_cast<size_t>(parts_.config.daemon.max_request_bytes);
  admission.body_bytes_max = std::min(route.body_bytes_max, request_bytes_max);
  if (route.body_bytes_max >= request_bytes_max) {
    admission.body_limit_key = "daemon.max_request_bytes";
  }
  std::shared_ptr<FileUpload> upload;
  if (body == RouteBody::file) admit_upload(request, admission, upload);
  admission.begin = [this, &route, upload, part = std::string(match.part)](HttpRequest whole,
                                                                           HttpReplier reply) {
    const auto asked = std::make_shared<Asked>();
    asked->request = std::move(whole);
    asked->part = part;
    asked->reply = std::move(reply);
    asked->upload = upload;
    begin(route, asked);
  };
  return admission;
}

void Api::begin(const Route& route, const std::shared_ptr<Asked>& asked) {
  asked->models = models_;
  asked->notices = parts_.health.notices();
  asked->may_accept = may_accept();
  asked->stopping = stopping_;
  if (route.thread == RouteThread::control) return (this->*route.verb)(asked);
  const auto task = [this, verb = route.verb, asked] { (this->*verb)(asked); };
  if (route.thread == RouteThread::blocking) {
    work_.heavy(asked->who(), asked->reply, task);
  } else {
    work_.quick(asked->who(), asked->reply, task);
  }
}

}  // namespace parkd
