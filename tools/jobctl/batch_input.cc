#include "tools/jobctl/batch_input.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

#include "lib/base/blanks.h"
#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "lib/job/bounds.h"
#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/table.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

constexpr size_t kFaultsShown = 10;
constexpr size_t kNameShown = 60;  // bytes of a custom_id in a message

std::string why_not(const std::string& verb, const std::string& path, int error) {
  return "cannot " + verb + " " + path + ": " + std::strerror(error);
}

// What a file begins with that says: these are not lines of JSON.
std::string other_format(std::string_view head, const std::string& path) {
  const auto begins = [head](std::string_view magic) {
    return head.substr(0, magic.size()) == magic;
  };
  if (begins("\x1F\x8B"))
    return "is compressed by gzip: zcat " + path + " | jobctl ..., with - in its place";
  if (begins("\x28\xB5\x2F\xFD")) {
    return "is compressed by zstd: zstdcat " + path + " | jobctl ..., with - in its place";
  }
  if (begins("PK\x03\x04"))
    return "is a zip archive: unzip -p " + path + " | jobctl ..., with - in its place";
  if (begins("\xFF\xFE") || begins("\xFE\xFF")) {
    return "is UTF-16, and UTF-8 is wanted: iconv -f utf-16 -t utf-8 " + path +
           " | jobctl ..., with - in its place";
  }
  return {};
}

// The custom_id as far as it can be read from a line that is not JSON.
std::string readable_custom_id(std::string_view text) {
  constexpr std::string_view kKey = "\"custom_id\"";
  size_t at = text.find(kKey);
  if (at == std::string_view::npos) return {};
  at = text.find_first_not_of(" \t:", at + kKey.size());
  if (at == std::string_view::npos || text[at] != '"') return {};
  const size_t end = text.find('"', at + 1);
  if (end == std::string_view::npos || end - at - 1 > kNameShown) return {};
  return std::string(text.substr(at + 1, end - at - 1));
}

// What is wrong with a request line, or nothing and what it says of itself.
std::string check_line(const std::string& text, BatchLine& line) {
  JsonMemory memory(text.size());
  const Status read = read_json(text, "", kSubmitDepthMax, memory).status();
  json::error_code not_json;
  json::parse_options options;
  options.max_depth = kSubmitDepthMax;
  const json::value parsed = json::parse(text, not_json, {}, options);
  if (!read.ok() && (not_json || !parsed.is_object())) {
    const std::string id = readable_custom_id(text);
    return read.message() + (id.empty() ? "" : " (custom_id \"" + id + "\")");
  }
  if (parsed.is_array()) return "is a JSON array; one line is one object (jq -c '.[]')";
  if (!parsed.is_object()) return "is not a JSON object";
  const json::value* id = find(parsed, "custom_id");
  if (id == nullptr || id->is_null()) return "has no custom_id";
  if (!id->is_string())
    return "has the custom_id " + json::serialize(*id) + ", which must be a string" +
           (id->is_number() ? ": \"" + json::serialize(*id) + "\"" : "");
  line.custom_id = std::string(id->get_string());
  if (line.custom_id.empty()) return "has an empty custom_id";
  if (!read.ok()) {
    line.refusal = invalid_param(read.param(), "the line " + read.message());
  }
  line.model = text_at(parsed, "model");
  if (line.model.empty()) line.model = text_at(parsed, "body.model");
  return "";
}

// A nameless file of our own in $TMPDIR.
Result<int> temporary_file() {
  const char* given = std::getenv("TMPDIR");
  std::string path =
      std::string(given != nullptr && *given != '\0' ? given : "/tmp") + "/parkd-XXXXXX";
  const int file = ::mkostemp(path.data(), O_CLOEXEC);  // 0600
  if (file < 0)
    return invalid(why_not("make a temporary file", path, errno) + " (TMPDIR names another place)");
  ::unlink(path.c_str());
  return file;
}

Status copy(int from, int to, const std::string& path) {
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t n = ::read(from, buffer.data(), buffer.size());
    if (n == 0) return {};
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return invalid(why_not("read", path, errno));
    for (ssize_t done = 0; done < n;) {
      const ssize_t written = ::write(to, buffer.data() + done, static_cast<size_t>(n - done));
      if (written < 0) {
        return invalid(why_not("copy to a temporary file", path, errno) +
                       " (TMPDIR names another place)");
      }
      done += written;
    }
  }
}

}  // namespace

void name_model(RawObject& job, std::string_view model) {
  job.set_text("model", model);
  if (job.get("body").substr(0, 1) != "{") return;
  RawObject body(job.get("body"));
  body.erase("model");
  job.set("body", body.text());
}

std::string jobs_text(const std::vector<std::string>& jobs) {
  JsonWriter json;
  json.begin_object().begin_array("jobs");
  for (const std::string& job : jobs) json.element(RawJson{job});
  return json.end_array().end_object().take();
}

Status BatchInput::open_file(const std::string& path) {
  const bool is_standard_input = path == "-";
  int file = is_standard_input ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return invalid(why_not("read", path, errno));
  struct stat is {};
  if (::fstat(file, &is) == 0 && S_ISDIR(is.st_mode)) {
    ::close(file);
    return invalid(path + " is a directory");
  }
  device_ = is.st_dev;
  inode_ = is.st_ino;
  if (is_standard_input || !S_ISREG(is.st_mode)) {
    const auto staged = temporary_file();
    const Status status = staged.ok() ? copy(file, *staged, path) : staged.status();
    ::close(file);
    if (!status.ok()) {
      if (staged.ok()) ::close(*staged);
      return status;
    }
    file = *staged;
    ::lseek(file, 0, SEEK_SET);
  }
  file_.reset(::fdopen(file, "rb"));
  return {};
}

Status BatchInput::read_lines(const std::string& path) {
  std::map<std::string, int64_t> seen;
  std::string faults;
  size_t n_faults = 0;
  int64_t offset = 0;
  char* buffer = nullptr;
  size_t room = 0;
  fingerprint_ = fnv1a64("");
  for (int64_t number = 1;; ++number) {
    const ssize_t n = ::getline(&buffer, &room, file_.get());
    if (n < 0) break;
    std::string text(buffer, static_cast<size_t>(n));
    const int64_t begin = offset;
    offset += n;
    if (!text.empty() && text.back() == '\n') text.pop_back();
    size_t skipped = 0;
    if (number == 1) {
      if (const std::string other = other_format(text, path); !other.empty()) {
        std::free(buffer);
        return invalid(path + " " + other);
      }
      skipped = text.size() - without_mark(text).size();
      text.erase(0, skipped);
    }
    fingerprint_ = fnv1a64(text, fnv1a64("\n", fingerprint_));
    if (trimmed(text).empty()) continue;
    BatchLine line;
    line.number = number;
    line.offset = begin + static_cast<int64_t>(skipped);
    line.length = static_cast<int64_t>(text.size());
    line.fingerprint = fnv1a64(text);
    std::string fault = check_line(text, line);
    if (fault.empty()) {
      const auto [before, is_new] = seen.emplace(line.custom_id, number);
      if (!is_new) {
        fault = "repeats custom_id \"" + line.custom_id + "\" of line " +
                std::to_string(before->second);
      }
    }
    if (fault.empty()) {
      lines_.push_back(std::move(line));
    } else if (n_faults++ < kFaultsShown) {
      faults += "\n  line " + std::to_string(number) + " " + fault;
    }
  }
  std::free(buffer);
  if (std::ferror(file_.get()) != 0) return invalid(why_not("read", path, errno));
  if (n_faults > kFaultsShown) {
    faults += "\n  and " + std::to_string(n_faults - kFaultsShown) + " more";
  }
  if (n_faults > 0) return invalid(path + " is refused, nothing was submitted:" + faults);
  if (lines_.empty()) return invalid(path + " has no request lines");
  return {};
}

Result<BatchInput> BatchInput::open(const std::string& path) {
  BatchInput input;
  PARKD_RETURN_IF_ERROR(input.open_file(path));
  PARKD_RETURN_IF_ERROR(input.read_lines(path));
  return input;
}

Result<std::string> BatchInput::read(const BatchLine& line) const {
  std::string text(static_cast<size_t>(line.length), '\0');
  if (::pread(::fileno(file_.get()), text.data(), text.size(), line.offset) !=
          ssize_t(text.size()) ||
      fnv1a64(text) != line.fingerprint) {
    return invalid("line " + std::to_string(line.number) +
                   " of the input has changed since it was first read");
  }
  return text;
}

bool BatchInput::is_same_file(const std::string& path) const {
  struct stat other {};
  return ::stat(path.c_str(), &other) == 0 && other.st_dev == device_ && other.st_ino == inode_;
}

}  // namespace parkd::jobctl
