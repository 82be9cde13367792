#include "daemon/api/routes.h"

#include <set>

namespace parkd {
namespace {

// Bodies of routes that ask for nothing; some clients send "{}".
constexpr size_t kNoBody = 4 << 10;
// 10,000 ids of 20 digits and their commas, twice over for blanks.
constexpr size_t kRequeueBody = 512 << 10;
// 64 KiB of metadata, name and key, each byte as an escape of six.
constexpr size_t kOpenBatchBody = 512 << 10;
// 1,000 cursors of some 20 bytes.
constexpr size_t kTakeBody = 64 << 10;

constexpr Route kRoutes[] = {
    {RouteId::submit, "POST", "/v1/jobs", "", false, kMaxRequestBytes},
    {RouteId::list_jobs, "GET", "/v1/jobs", "", false, kNoBody},
    {RouteId::requeue, "POST", "/v1/jobs/requeue", "", false, kRequeueBody},
    {RouteId::get_job, "GET", "/v1/jobs/", "", true, kNoBody},
    {RouteId::cancel_job, "POST", "/v1/jobs/", "/cancel", true, kNoBody},
    {RouteId::open_batch, "POST", "/v1/batches", "", false, kOpenBatchBody},
    {RouteId::list_batches, "GET", "/v1/batches", "", false, kNoBody},
    {RouteId::get_batch, "GET", "/v1/batches/", "", true, kNoBody},
    {RouteId::seal_batch, "POST", "/v1/batches/", "/seal", true, kNoBody},
    {RouteId::cancel_batch, "POST", "/v1/batches/", "/cancel", true, kNoBody},
    {RouteId::take, "POST", "/v1/mailbox/", "/take", true, kTakeBody},
    {RouteId::read_mailbox, "GET", "/v1/mailbox/", "", true, kNoBody},
    {RouteId::models, "GET", "/v1/models", "", false, kNoBody},
    {RouteId::pool, "GET", "/v1/pool", "", false, kNoBody},
    {RouteId::healthz, "GET", "/healthz", "", false, kNoBody},
    {RouteId::readyz, "GET", "/readyz", "", false, kNoBody},
    {RouteId::metrics, "GET", "/metrics", "", false, kNoBody},
};

// The variable part of a path; nothing when the path is not the route's.
bool has_path(const Route& route, std::string_view path, std::string_view& part) {
  if (!route.has_part) return path == route.before;
  if (path.size() <= route.before.size() + route.after.size()) return false;
  if (path.substr(0, route.before.size()) != route.before) return false;
  if (path.substr(path.size() - route.after.size()) != route.after) return false;
  part = path.substr(route.before.size(), path.size() - route.before.size() - route.after.size());
  const bool key = route.id == RouteId::take || route.id == RouteId::read_mailbox;
  return key || part.find('/') == part.npos;  // a mailbox key may hold slashes
}

}  // namespace

std::string Route::name() const {
  std::string text = std::string(method) + " " + std::string(before);
  if (has_part) text += before == "/v1/mailbox/" ? "KEY" : "ID";
  return text + std::string(after);
}

RouteMatch match_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  std::set<std::string_view> others;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const Route& route : kRoutes) {
    std::string_view part;
    if (!has_path(route, path, part)) continue;
    if (route.method == wanted) {
      match.route = &route;
      match.part = part;
      match.allow.clear();
      return match;
    }
    others.insert(route.method);
    if (route.method == "GET") others.insert("HEAD");
  }
  for (const std::string_view other : others) {
    match.allow += (match.allow.empty() ? "" : ", ") + std::string(other);
  }
  return match;
}

}  // namespace parkd
