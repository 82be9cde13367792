#include "tools/jobctl/batch_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>

#include "lib/base/text.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

constexpr size_t kFaultsShown = 10;

std::string run_file(const std::string& path) {
  return path + ".parkd-run";
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r") == std::string_view::npos;
}

// What is wrong with a request line, or nothing and its custom_id.
std::string check_line(const std::string& text, std::string& custom_id) {
  json::error_code error;
  const json::value line = json::parse(text, error);
  if (error) return "is not JSON (" + error.message() + ")";
  if (!line.is_object()) return "is not a JSON object";
  custom_id = text_at(line, "custom_id");
  return custom_id.empty() ? "has no custom_id" : "";
}

Status write_synced(const std::string& path, const std::string& text) {
  const std::string part = path + ".part";
  const int file =
      ::open(part.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);  // nobody asked for it
  const bool written = file >= 0 &&
                       ::write(file, text.data(), text.size()) == ssize_t(text.size()) &&
                       ::fsync(file) == 0;
  const int why = errno;
  if (file >= 0) ::close(file);
  if (!written || ::rename(part.c_str(), path.c_str()) != 0) {
    return invalid("cannot write " + path + ": " + std::strerror(written ? errno : why));
  }
  return {};
}

struct RunMark {
  std::string run_id;
  std::string deadline;
};

// The run that OUT belongs to; a new one is begun when there is none.
Result<RunMark> open_run(const std::string& out, const BatchInput& input,
                         const std::string& deadline) {
  const std::string path = run_file(out);
  const std::string fingerprint = to_hex(input.fingerprint());
  std::ifstream existing(path);
  RunMark run;
  std::string of_input;
  if (existing >> run.run_id >> of_input) {
    existing >> run.deadline;  // may be absent
    if (of_input == fingerprint) return run;
    return invalid("the input has changed since the run into " + out +
                   " began: use another -o, or remove " + path +
                   " to run what is missing as a new batch");
  }
  run = {random_hex(12), deadline};
  PARKD_RETURN_IF_ERROR(write_synced(path, run.run_id + " " + fingerprint + " " + deadline + "\n"));
  return run;
}

}  // namespace

Result<BatchInput> BatchInput::open(const std::string& path) {
  BatchInput input;
  input.file_.reset(std::fopen(path.c_str(), "rb"));
  if (input.file_ == nullptr) return invalid("cannot read " + path + ": " + std::strerror(errno));
  std::ifstream stream(path, std::ios::binary);
  std::map<std::string, int64_t> seen;
  std::string faults;
  size_t n_faults = 0;
  std::string text;
  int64_t offset = 0;
  input.fingerprint_ = fnv1a64("");
  for (int64_t number = 1; std::getline(stream, text); ++number) {
    const auto length = static_cast<int64_t>(text.size());
    input.fingerprint_ = fnv1a64(text, fnv1a64("\n", input.fingerprint_));
    BatchLine line{number, offset, length, {}};
    offset += length + 1;
    if (is_blank(text)) continue;
    std::string fault = check_line(text, line.custom_id);
    if (fault.empty()) {
      const auto [before, is_new] = seen.emplace(line.custom_id, number);
      if (!is_new) {
        fault = "repeats custom_id \"" + line.custom_id + "\" of line " +
                std::to_string(before->second);
      }
    }
    if (fault.empty()) {
      input.lines_.push_back(std::move(line));
    } else if (n_faults++ < kFaultsShown) {
      faults += "\n  line " + std::to_string(number) + " " + fault;
    }
  }
  if (n_faults > kFaultsShown) {
    faults += "\n  and " + std::to_string(n_faults - kFaultsShown) + " more";
  }
  if (n_faults > 0) return invalid(path + " is refused, nothing was submitted:" + faults);
  if (input.lines_.empty()) return invalid(path + " has no request lines");
  return input;
}

Result<std::string> BatchInput::read(const BatchLine& line) const {
  std::string text(static_cast<size_t>(line.length), '\0');
  if (::pread(::fileno(file_.get()), text.data(), text.size(), line.offset) !=
      ssize_t(text.size())) {
    return invalid("line " + std::to_string(line.number) + " of the input cannot be read again");
  }
  return text;
}

Result<BatchOutput> BatchOutput::open(const std::string& path, const BatchInput& input,
                                      const std::string& deadline) {
  BatchOutput output;
  output.path_ = path;
  std::set<std::string> asked;
  for (const BatchLine& line : input.lines()) asked.insert(line.custom_id);

  output.file_.reset(std::fopen(path.c_str(), "ab"));
  if (output.file_ == nullptr) return invalid("cannot write " + path + ": " + std::strerror(errno));
  if (::flock(::fileno(output.file_.get()), LOCK_EX | LOCK_NB) != 0) {
    return conflict("another jobctl is writing to " + path);
  }
  int64_t whole_bytes = 0;  // up to the end of the last complete line
  {
    std::ifstream stream(path, std::ios::binary);
    std::string text;
    for (int64_t number = 1; std::getline(stream, text) && !stream.eof(); ++number) {
      json::error_code error;
      const json::value line = json::parse(text, error);
      const std::string custom_id = error ? std::string() : text_at(line, "custom_id");
      if (asked.count(custom_id) == 0) {
        return invalid(path + " line " + std::to_string(number) +
                       " is no result of this input: use another -o");
      }
      if (output.done_.insert(custom_id).second) output.counts_.count(line);
      whole_bytes += static_cast<int64_t>(text.size()) + 1;
    }
  }
  if (::ftruncate(::fileno(output.file_.get()), whole_bytes) != 0) {
    return invalid("cannot cut the torn last line of " + path + ": " + std::strerror(errno));
  }
  PARKD_ASSIGN_OR_RETURN(RunMark run, open_run(path, input, deadline));
  output.run_id_ = std::move(run.run_id);
  output.deadline_ = std::move(run.deadline);
  output.counts_.total = static_cast<int64_t>(input.lines().size());
  return output;
}

Status BatchOutput::append(const std::string& custom_id, std::string line) {
  if (!done_.insert(custom_id).second) return {};
  counts_.count(json::parse(line));
  line += '\n';
  const bool written = std::fwrite(line.data(), 1, line.size(), file_.get()) == line.size() &&
                       std::fflush(file_.get()) == 0;
  if (!written) return invalid("cannot write " + path_ + ": " + std::strerror(errno));
  return {};
}

Status BatchOutput::complete() {
  if (::fsync(::fileno(file_.get())) != 0) {
    return invalid("cannot sync " + path_ + ": " + std::strerror(errno));
  }
  ::unlink(run_file(path_).c_str());
  return {};
}

}  // namespace parkd::jobctl
