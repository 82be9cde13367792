// What a libpq connection string or URI names. Pure but for libpq's environment; any thread.
//
// A DSN may hold a password: nothing here, and no error, repeats any of its text but host, port,
// database and user.
#pragma once

#include <string>

#include "lib/base/status.h"

namespace parkd {

struct DsnTarget {
  std::string host;  // a name, an address, or the folder of a Unix socket; empty: libpq's own
  std::string port;
  std::string database;
  std::string user;
  std::string service;        // of the service file, named in the DSN: it may say all of the above
  bool has_password = false;  // written in the DSN itself
};

// What the DSN leaves out comes from PGHOST, PGUSER ..., or the service file, as in libpq. Errors:
// invalid.
Result<DsnTarget> parse_dsn(const std::string& dsn);

// "database orders on db1:5432 as alice".
std::string to_string(const DsnTarget& target);

// `status` with " (database orders on db1:5432 as alice)" after its message.
Status with_target(const Status& status, const std::string& dsn);

}  // namespace parkd
