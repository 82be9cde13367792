// Lockdown: the rights that PUBLIC has in a database which is parkd's alone, and the statements
// that take them away. No migration does that: they lie outside of parkd's own schemas.
#pragma once

#include <string>
#include <vector>

#include "lib/base/status.h"

namespace parkd {

struct Lockdown {
  std::vector<std::string> statements;  // without ";"; all, also what changes nothing
  std::vector<std::string> shut_out;    // logins that may connect now and then may not; 20 at most
  bool is_done = false;                 // PUBLIC has none of these rights
};

// Reads alone. Errors: conflict (no parkd schema there).
Result<Lockdown> look_at_lockdown(const std::string& dsn);
// Runs the statements in one transaction. Errors: denied, with who may, when the login is not the
// database's owner: such a REVOKE is only a warning to the server.
Status lock_down(const std::string& dsn);

// What any login of the server may do in this database; empty: nothing. For people.
Result<std::string> rights_of_public(const std::string& dsn);

// The transactions that readers wait for now (finishing_now), each for an instant unless something
// is wrong. For people. Errors: denied, with who may look.
Result<std::vector<std::string>> results_holders(const std::string& dsn);

// "12 jobs wait for the model x, which no daemon has", one line a model. For people.
Result<std::vector<std::string>> unserved_models(const std::string& dsn);

}  // namespace parkd
