// Shows the answer of a job as it is written.
#pragma once

#include <cstdint>

#include "tools/jobctl/client.h"
#include "tools/jobctl/commands.h"

namespace parkd::jobctl {

// Prints the first choice to standard output piece by piece, the others of several behind it; with
// --json each chunk on a line. Goes on where it was when the daemon, or the connection, comes back.
// Returns the exit status.
int follow(Client& client, const GlobalOptions& globals, int64_t id);

}  // namespace parkd::jobctl
