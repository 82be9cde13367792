// Prompts and answers are other people's: what the daemon writes is its own user's alone, whatever
// umask it was started with. The socket's mode is another matter (daemon.socket_mode).
#pragma once

#include <string>

#include "lib/base/status.h"

namespace parkd {

// Before any file is made and any thread is started: the process's umask becomes 0077.
void keep_files_private();

// Makes the state directory where it is missing: 0711, so that others may pass to models in it and
// read nothing. One that is there keeps its mode; where it lets others list or change it the log
// says so, with the line that mends it. Errors: invalid, naming daemon.state_dir.
Status make_state_directory(const std::string& path);

}  // namespace parkd
