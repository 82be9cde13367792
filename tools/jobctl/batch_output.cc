#include "tools/jobctl/batch_output.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <utility>

#include "lib/base/text.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

constexpr size_t kHeadBytes = 4096;
constexpr size_t kLinesNamed = 5;
constexpr std::string_view kLineBegins = R"({"id":"batch_req_)";

std::string why_not(const std::string& verb, const std::string& path) {
  return "cannot " + verb + " " + path + ": " + std::strerror(errno);
}

std::string head_of(const std::string& line) {
  std::string head = line.substr(0, kHeadBytes);
  head.resize(valid_utf8_prefix(head));  // it is kept as JSON
  return head;
}

bool matches(const std::vector<std::string>& codes, const std::string& code) {
  return std::any_of(codes.begin(), codes.end(),
                     [&code](const std::string& one) { return one == "*" || one == code; });
}

Status write_all(int file, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(file, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return invalid(why_not("write", path));
    text.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

// Each whole line of `path`, with its number, until `take` is not ok. What follows the last newline
// is `tail`.
Status each_line(const std::string& path,
                 const std::function<Status(int64_t, const std::string&)>& take,
                 std::string& tail) {
  std::ifstream stream(path, std::ios::binary);
  std::string text;
  for (int64_t number = 1; std::getline(stream, text); ++number) {
    if (stream.eof()) {
      tail = text;
      break;
    }
    PARKD_RETURN_IF_ERROR(take(number, text));
  }
  if (stream.bad()) return invalid(why_not("read", path));
  return {};
}

// How the input differs from the one that the run began with.
struct Changes {
  std::vector<const BatchLine*> edited;
  std::vector<const BatchLine*> added;
  size_t n_removed = 0;

  bool any() const { return !edited.empty() || !added.empty() || n_removed > 0; }
};

Changes changes_of(const RunMark& mark, const BatchInput& input) {
  Changes changes;
  size_t n_known = 0;
  for (const BatchLine& line : input.lines()) {
    const auto known = mark.lines.find(line.custom_id);
    if (known == mark.lines.end()) {
      changes.added.push_back(&line);
      continue;
    }
    ++n_known;
    if (known->second != line.fingerprint) changes.edited.push_back(&line);
  }
  changes.n_removed = mark.lines.size() - n_known;
  return changes;
}

std::string name_lines(const std::vector<const BatchLine*>& lines) {
  std::string text = std::to_string(lines.size()) + (lines.size() == 1 ? " line" : " lines") + " (";
  for (size_t i = 0; i < lines.size() && i < kLinesNamed; ++i) {
    text +=
        (i > 0 ? ", " : "") + std::to_string(lines[i]->number) + " \"" + lines[i]->custom_id + "\"";
  }
  return text + (lines.size() > kLinesNamed ? ", ...)" : ")");
}

std::string describe(const Changes& changes) {
  std::string text;
  const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (!changes.edited.empty()) add(name_lines(changes.edited) + " edited");
  if (!changes.added.empty()) add(name_lines(changes.added) + " added");
  if (changes.n_removed > 0) add(std::to_string(changes.n_removed) + " removed");
  return text;
}

}  // namespace

Result<BatchOutput> BatchOutput::open(const std::string& path, const BatchInput& input,
                                      const RunSettings& settings, const RetryCodes& retry) {
  BatchOutput output;
  output.path_ = path;
  output.counts_.total = static_cast<int64_t>(input.lines().size());
  if (output.is_stream()) {
    if (retry) return invalid("--retry-failed needs the file that an earlier run wrote, not -o -");
    output.file_ = OwnedFd(::dup(STDOUT_FILENO));
    output.begin(input, settings);
    return output;
  }
  if (input.is_same_file(path)) return invalid("-o " + path + " is the input: give another -o");
  if (input.is_same_file(mark_path(path))) {
    return invalid("the input is where the run file of -o " + path + " would be: give another -o");
  }
  PARKD_ASSIGN_OR_RETURN(std::optional<RunMark> mark, read_mark(path));
  PARKD_RETURN_IF_ERROR(output.open_locked());
  PARKD_ASSIGN_OR_RETURN(mark, read_mark(path));  // again: now no other process writes it
  Status status = output.check_is_own(mark);
  if (status.ok()) {
    const bool begins =
        !mark || (mark->is_complete && ::lseek(output.file_.get(), 0, SEEK_END) == 0);
    if (begins && retry) {
      status = invalid("there is no run into " + path + " whose failed lines could run again");
    } else if (begins) {
      output.begin(input, settings);
      status = write_mark(path, output.mark_);
    } else {
      output.mark_ = std::move(*mark);
      status = output.continue_run(input, settings, retry);
    }
  }
  if (status.ok()) return output;
  if (output.made_file_) ::unlink(path.c_str());
  return status;
}

Status BatchOutput::open_locked() {
  struct stat is {};
  const bool there = ::stat(path_.c_str(), &is) == 0;
  if (there && !S_ISREG(is.st_mode)) {
    return invalid("-o " + path_ + " is not a regular file; -o - writes to standard output");
  }
  made_file_ = !there;
  file_ = OwnedFd(::open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
  if (file_.get() < 0) return invalid(why_not("write", path_));
  // A process that takes failed lines out puts a new file there.
  struct stat locked {};
  const bool has_lock = ::flock(file_.get(), LOCK_EX | LOCK_NB) == 0;
  if (!has_lock || ::fstat(file_.get(), &locked) != 0 || ::stat(path_.c_str(), &is) != 0 ||
      locked.st_ino != is.st_ino || locked.st_dev != is.st_dev) {
    return conflict("another jobctl is writing to " + path_);
  }
  return {};
}

Status BatchOutput::check_is_own(const std::optional<RunMark>& mark) const {
  std::string begin(kHeadBytes, '\0');
  const ssize_t n = ::pread(file_.get(), begin.data(), begin.size(), 0);
  if (n < 0) return invalid(why_not("read", path_));
  if (n == 0) return {};
  begin.resize(static_cast<size_t>(n));
  if (!mark) {
    return invalid(path_ + " is there already, and no run of jobctl made it (" + mark_path(path_) +
                   " is missing): nothing was changed; give another -o");
  }
  for (const std::string& head : mark->heads) {
    const size_t common = std::min(begin.size(), head.size());
    if (common > 0 && begin.compare(0, common, head, 0, common) == 0) return {};
  }
  return invalid(path_ + " is not the file that the run of " + mark_path(path_) +
                 " wrote: nothing was changed; give another -o");
}

void BatchOutput::begin(const BatchInput& input, const RunSettings& settings) {
  mark_ = {};
  mark_.run_id = random_hex(12);
  mark_.input = input.fingerprint();
  mark_.settings = settings;
  for (const BatchLine& line : input.lines()) mark_.lines[line.custom_id] = line.fingerprint;
  began_here_ = true;
}

// Reads what is there, and cuts a torn last line off.
Status BatchOutput::read_results(const BatchInput& input) {
  std::set<std::string> asked;
  for (const BatchLine& line : input.lines()) asked.insert(line.custom_id);
  done_.clear();
  counts_ = {};
  counts_.total = static_cast<int64_t>(asked.size());
  int64_t whole_bytes = 0;
  std::string tail;
  PARKD_RETURN_IF_ERROR(each_line(
      path_,
      [&](int64_t number, const std::string& text) -> Status {
        json::error_code error;
        const json::value line = json::parse(text, error);
        const std::string custom_id = error ? std::string() : text_at(line, "custom_id");
        if (asked.count(custom_id) == 0 && mark_.lines.count(custom_id) == 0) {
          return invalid(path_ + " line " + std::to_string(number) +
                         " is not a result of this input: nothing was changed; give another -o");
        }
        whole_bytes += static_cast<int64_t>(text.size()) + 1;
        if (asked.count(custom_id) > 0 && done_.insert(custom_id).second) counts_.count(line);
        return {};
      },
      tail));
  if (tail.empty()) return {};
  const size_t common = std::min(tail.size(), kLineBegins.size());
  if (tail.compare(0, common, kLineBegins, 0, common) != 0) {
    return invalid(path_ + " ends in " + std::to_string(tail.size()) +
                   " bytes that no run wrote: nothing was changed; give another -o");
  }
  if (::ftruncate(file_.get(), whole_bytes) != 0) {
    return invalid(why_not("cut the torn last line of", path_));
  }
  return {};
}

Status BatchOutput::continue_run(const BatchInput& input, const RunSettings& settings,
                                 const RetryCodes& retry) {
  if (!mark_.taking_out.empty()) {  // an earlier process died there
    PARKD_RETURN_IF_ERROR(take_out_failed());
  }
  PARKD_RETURN_IF_ERROR(read_results(input));
  const Changes changes = changes_of(mark_, input);
  if (!mark_.is_complete) {
    if (retry) {
      return invalid("the run into " + path_ +
                     " is not complete: run the same command without "
                     "--retry-failed first");
    }
    if (changes.any()) {
      return invalid("the input has changed since the run into " + path_ +
                     " began: " + describe(changes) +
                     ". Its lines are queued as they were: put the old input "
                     "back to go on, or use another -o");
    }
  } else if (retry) {
    return begin_again(input, settings, *retry);
  } else if (changes.any()) {
    return invalid("the input has changed since the run into " + path_ +
                   " began: " + describe(changes) +
                   ". --retry-failed runs the failed lines with the text they "
                   "have now, and the added ones; another -o runs all");
  }
  const auto differs = [this](const char* option, const std::string& was, const std::string& is) {
    if (was == is) return;
    notes_.push_back(std::string(option) + " was \"" + was + "\" where this run began and is \"" +
                     is + "\" now: lines that were accepted keep the old one");
  };
  differs("--model", mark_.settings.model, settings.model);
  differs("--priority", mark_.settings.priority, settings.priority);
  differs("--retention", mark_.settings.retention, settings.retention);
  return {};
}

// The failed lines of a complete run, and those that were added to the input, as a new run.
Status BatchOutput::begin_again(const BatchInput& input, const RunSettings& settings,
                                const std::vector<std::string>& codes) {
  const Changes changes = changes_of(mark_, input);
  if (changes.n_removed > 0) {
    return invalid("the input has changed since the run into " + path_ +
                   " began: " + describe(changes) +
                   ". Results of removed lines would belong to no line: put them "
                   "back, or use another -o");
  }
  int64_t n_failed = 0;
  std::set<std::string> failed;
  std::string tail;
  PARKD_RETURN_IF_ERROR(each_line(
      path_,
      [&](int64_t, const std::string& text) -> Status {
        const json::value line = json::parse(text);  // read before
        const auto code = failure_code(line);
        if (!code) return {};
        ++n_failed;
        if (matches(codes, *code) && done_.count(text_at(line, "custom_id")) > 0) {
          failed.insert(text_at(line, "custom_id"));
        }
        return {};
      },
      tail));
  if (failed.empty() && changes.added.empty()) {
    notes_.push_back(n_failed == 0
                         ? "no line of " + path_ + " failed: there is nothing to run again"
                         : "none of the " + std::to_string(n_failed) + " failed lines of " + path_ +
                               " failed with these codes");
    return {};
  }
  std::vector<const BatchLine*> kept;
  for (const BatchLine* line : changes.edited) {
    if (failed.count(line->custom_id) == 0) kept.push_back(line);
  }
  if (!kept.empty()) {
    notes_.push_back(name_lines(kept) + " edited, with a result that stays: another -o runs them");
  }
  notes_.push_back(std::to_string(failed.size()) + " failed lines run again" +
                   (changes.added.empty() ? "" : ", and " + name_lines(changes.added) + " added"));
  std::vector<std::string> heads = std::move(mark_.heads);
  begin(input, settings);
  mark_.heads = std::move(heads);
  if (failed.empty()) {
    PARKD_RETURN_IF_ERROR(write_mark(path_, mark_));
  } else {
    mark_.taking_out = codes;
    PARKD_RETURN_IF_ERROR(take_out_failed());
  }
  return read_results(input);
}

// Puts a file without the failed lines of mark_.taking_out in OUT's place. Its death at any point
// is mended by doing it again: nothing of the new run is submitted before it is done.
Status BatchOutput::take_out_failed() {
  struct stat is {};
  if (::fstat(file_.get(), &is) != 0) return invalid(why_not("read", path_));
  const std::string part = path_ + "." + random_hex(4) + ".part";
  OwnedFd fresh(
      ::open(part.c_str(), O_CREAT | O_EXCL | O_RDWR | O_APPEND | O_CLOEXEC, is.st_mode & 0777));
  if (fresh.get() < 0) return invalid(why_not("write", part));
  std::string head;
  std::string tail;
  Status status = each_line(
      path_,
      [&](int64_t, const std::string& text) -> Status {
        json::error_code error;
        const json::value line = json::parse(text, error);
        const auto code = error ? std::nullopt : failure_code(line);
        if (code && matches(mark_.taking_out, *code) &&
            mark_.lines.count(text_at(line, "custom_id")) > 0) {
          return {};
        }
        if (head.empty()) head = head_of(text);
        return write_all(fresh.get(), text + "\n", part);
      },
      tail);
  if (status.ok() && ::fsync(fresh.get()) != 0) status = invalid(why_not("sync", part));
  if (status.ok() && ::flock(fresh.get(), LOCK_EX | LOCK_NB) != 0)
    status = invalid(why_not("lock", part));
  if (status.ok()) {
    if (!head.empty()) mark_.heads.push_back(head);
    status = write_mark(path_, mark_);
  }
  if (status.ok() && ::rename(part.c_str(), path_.c_str()) != 0) {
    status = invalid(why_not("write", path_));
  }
  if (!status.ok()) {
    ::unlink(part.c_str());
    return status;
  }
  PARKD_RETURN_IF_ERROR(sync_directory_of(path_));
  file_ = std::move(fresh);
  mark_.taking_out.clear();
  mark_.heads.clear();
  if (!head.empty()) mark_.heads.push_back(head);
  return write_mark(path_, mark_);
}

Status BatchOutput::append(const std::string& custom_id, std::string line) {
  if (!done_.insert(custom_id).second) return {};
  counts_.count(json::parse(line));
  if (mark_.heads.empty() && !is_stream()) {
    mark_.heads.push_back(head_of(line));
    PARKD_RETURN_IF_ERROR(write_mark(path_, mark_));
  }
  return write_all(file_.get(), line + "\n", is_stream() ? "standard output" : path_);
}

Status BatchOutput::set_batches(std::vector<RunBatch> batches) {
  mark_.batches = std::move(batches);
  return is_stream() ? Status() : write_mark(path_, mark_);
}

Status BatchOutput::complete() {
  if (is_stream() || mark_.is_complete) return {};
  if (::fsync(file_.get()) != 0) return invalid(why_not("sync", path_));
  mark_.is_complete = true;
  return write_mark(path_, mark_);
}

void BatchOutput::abandon() {
  if (is_stream() || !began_here_ || counts_.done > 0) return;
  ::unlink(mark_path(path_).c_str());
  if (made_file_) ::unlink(path_.c_str());
}

}  // namespace parkd::jobctl
