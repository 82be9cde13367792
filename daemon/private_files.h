// Prompts and answers are other people's: what the daemon writes is its own user's alone, whatever
// umask it was started with, and its memory is not written to disk when it dies. The socket's mode
// is another matter (daemon.socket_mode).
#pragma once

#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/config/config.h"

namespace parkd {

// Before any file is made and any thread is started: the process's umask becomes 0077.
void keep_files_private();

// No core dump of this process, to a file or to a helper that core_pattern names: both end at a
// limit (RLIMIT_CORE) of one byte. Debuggers still attach.
void forbid_core_dumps();

// Makes the state directory where it is missing: 0711, so that others may pass to models in it and
// read nothing. One that is there keeps its mode. Errors: invalid, naming daemon.state_dir.
Status make_state_directory(const std::string& path);

// A directory or file that others could read or replace.
struct OpenPlace {
  std::string param;  // of the configuration: "daemon.state_dir"
  std::string path;
  std::string why;     // "its mode is 0755: others may list it"
  std::string remedy;  // a command
};
// Looks at the state directory, the queue's, the socket's, the tokens' file and the configuration
// itself.
std::vector<OpenPlace> open_places(const Config& config, const std::string& config_path);

// Logs each of them (daemon.open_to_others); strict: the first is an error, invalid, instead.
Status report_open_places(const std::vector<OpenPlace>& places, bool strict);

}  // namespace parkd
