// jobctl token new: a token for who comes to parkd by TCP, and the line that says whose it is.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "lib/config/token_file.h"
#include "tools/jobctl/commands.h"
#include "tools/jobctl/config_file.h"

namespace parkd::jobctl {
namespace {

struct NewOptions {
  std::string tenant;
  std::string file;
  std::vector<std::string> grants;
};

// Held while the file is read and written anew, so that of two jobctl none loses the other's line.
class FolderLock {
 public:
  explicit FolderLock(const std::string& file) {
    const std::string folder = std::filesystem::path(file).parent_path();
    fd_ = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd_ >= 0) ::flock(fd_, LOCK_EX);
  }
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

// Adds a line to the file, which is made where it is missing. The old one or the new one is there
// at any moment.
Status add_line(const std::string& path, const std::string& line) {
  const FolderLock lock(path);
  const int made = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (made >= 0) {
    ::close(made);
  } else if (errno != EEXIST) {
    return invalid("cannot make " + path + ": " + std::strerror(errno));
  }
  PARKD_RETURN_IF_ERROR(load_tokens(path).status());  // parkd would not take it either
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), {}};
  if (!stream) return invalid("cannot read " + path);
  if (!text.empty() && text.back() != '\n') text += '\n';
  text += line + "\n";
  PARKD_RETURN_IF_ERROR(parse_tokens(text, path).status());
  return replace_file(path, text);
}

int make(const NewOptions& options) {
  const std::string token = make_token();
  TokenEntry entry;
  entry.tenant = options.tenant;
  entry.digest = digest_of(token);
  for (const std::string& grant : options.grants) {
    if (const Status read = read_grant(grant, entry); !read.ok()) {
      return report(invalid("--grant: " + read.message()));
    }
  }
  const std::string line = token_line(entry);
  if (!parse_tokens(line, "").ok()) {
    return report(invalid("TENANT, \"" + options.tenant +
                          "\", is not a tenant (1 .. 64 letters, digits, . _ -)"));
  }
  if (options.file.empty()) {
    std::cerr << "put this line into daemon.tokens_file; the token itself is shown once:\n"
              << line << "\n";
  } else {
    if (const Status added = add_line(options.file, line); !added.ok()) return report(added);
    std::cerr
        << "written into " << options.file
        << ", which a running parkd reads at systemctl reload parkd (SIGHUP); the token itself "
           "is shown once:\n";
  }
  std::cout << token << "\n";
  return kExitOk;
}

}  // namespace

void add_token(CLI::App& app, Chosen& chosen) {
  CLI::App* token = app.add_subcommand("token", "Tokens of who comes to parkd by TCP");
  token->require_subcommand(1);
  auto options = std::make_shared<NewOptions>();
  CLI::App* command =
      token->add_subcommand("new", "Make a token, print it once, and write down whose it is");
  command->add_option("tenant", options->tenant, "Whose requests bring it")->required();
  command->add_option("--file", options->file,
                      "Add the line to this file (daemon.tokens_file), made where it is missing; "
                      "without: print it");
  command->add_option("--grant", options->grants,
                      "critical: its jobs may have that priority; requests=N: in flight at a time");
  command->callback([options, &chosen] { chosen = [options] { return make(*options); }; });
}

}  // namespace parkd::jobctl
