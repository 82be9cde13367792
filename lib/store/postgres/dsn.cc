#include "lib/store/postgres/dsn.h"

#include <libpq-fe.h>

#include <memory>
#include <string_view>

namespace parkd {
namespace {

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;

std::string value_of(const Options& options, std::string_view keyword) {
  if (options == nullptr) return {};
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (keyword == option->keyword) return option->val != nullptr ? option->val : "";
  }
  return {};
}

}  // namespace

Result<DsnTarget> parse_dsn(const std::string& dsn) {
  char* error = nullptr;
  const Options given(PQconninfoParse(dsn.c_str(), &error));
  // libpq's own words quote the text at fault, which may be a password.
  PQfreemem(error);
  if (given == nullptr) {
    return invalid(
        "the DSN cannot be read: it is neither libpq's keywords (\"host=db1 dbname=parkd "
        "user=alice\") nor a URI (postgresql://alice@db1/parkd)");
  }
  // The environment, and the service file that PGSERVICE names.
  const Options around(PQconndefaults());
  const auto value = [&](const char* keyword) {
    const std::string own = value_of(given, keyword);
    return own.empty() ? value_of(around, keyword) : own;
  };
  DsnTarget target;
  target.host = value("host").empty() ? value("hostaddr") : value("host");
  target.port = value("port");
  target.user = value("user");
  target.service = value_of(given, "service");
  target.database = value("dbname").empty() ? target.user : value("dbname");
  target.has_password = !value_of(given, "password").empty();
  return target;
}

std::string to_string(const DsnTarget& target) {
  if (!target.service.empty()) return "service " + target.service;
  std::string text = "database " + target.database + " on ";
  text += target.host.empty() ? "the local socket" : target.host;
  if (!target.port.empty()) text += ":" + target.port;
  return text + " as " + target.user;
}

Status with_target(const Status& status, const std::string& dsn) {
  const auto target = parse_dsn(dsn);
  if (status.ok() || !target.ok()) return status;
  return Status(status.code(), status.message() + " (" + to_string(*target) + ")")
      .with_param(status.param());
}

}  // namespace parkd
