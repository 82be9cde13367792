#include "tools/jobctl/run_mark.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "lib/base/text.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

constexpr int64_t kVersion = 1;

uint64_t from_hex(const std::string& text) {
  return std::strtoull(text.c_str(), nullptr, 16);
}

std::vector<std::string> texts_at(const json::value& from, std::string_view key) {
  std::vector<std::string> texts;
  const json::value* list = find(from, key);
  if (list == nullptr || !list->is_array()) return texts;
  for (const json::value& text : list->get_array()) {
    if (text.is_string()) texts.emplace_back(text.get_string());
  }
  return texts;
}

std::vector<RunBatch> batches_at(const json::value& from) {
  std::vector<RunBatch> batches;
  const json::value* list = find(from, "batches");
  if (list == nullptr || !list->is_array()) return batches;
  for (const json::value& batch : list->get_array()) {
    batches.push_back(
        {text_at(batch, "id"), text_at(batch, "deadline"), number_at(batch, "first_line")});
  }
  return batches;
}

// Writes a file whole beside `path` and puts it in its place.
Status replace_file(const std::string& path, const std::string& text, unsigned mode) {
  const std::string part = path + "." + random_hex(4) + ".part";
  const int file = ::open(part.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
  if (file < 0) return invalid("cannot write " + part + ": " + std::strerror(errno));
  size_t done = 0;
  bool ok = true;
  while (ok && done < text.size()) {
    const ssize_t n = ::write(file, text.data() + done, text.size() - done);
    ok = n > 0 || (n < 0 && errno == EINTR);
    if (n > 0) done += static_cast<size_t>(n);
  }
  ok = ok && ::fsync(file) == 0;
  const int why = errno;
  ::close(file);
  if (!ok || ::rename(part.c_str(), path.c_str()) != 0) {
    const int error = ok ? errno : why;
    ::unlink(part.c_str());
    return invalid("cannot write " + path + ": " + std::strerror(error));
  }
  return sync_directory_of(path);
}

}  // namespace

std::string mark_path(const std::string& out) {
  return out + ".parkd-run";
}

Result<std::optional<RunMark>> read_mark(const std::string& out) {
  const std::string path = mark_path(out);
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    if (::access(path.c_str(), F_OK) != 0) return std::optional<RunMark>();
    return invalid("cannot read " + path + ": " + std::strerror(errno));
  }
  const std::string text(std::istreambuf_iterator<char>(file), {});
  json::error_code error;
  const json::value value = json::parse(text, error);
  if (error || number_at(value, "parkd_run") != kVersion || text_at(value, "id").empty()) {
    return invalid(path +
                   " is not the run file of a jobctl of this version: give another -o, or move " +
                   path + " away");
  }
  RunMark mark;
  mark.run_id = text_at(value, "id");
  mark.input = from_hex(text_at(value, "input"));
  mark.settings = {text_at(value, "model"), text_at(value, "priority"), text_at(value, "deadline"),
                   text_at(value, "retention")};
  mark.batches = batches_at(value);
  mark.is_complete = flag_at(value, "complete");
  mark.heads = texts_at(value, "heads");
  mark.taking_out = texts_at(value, "taking_out");
  if (const json::value* lines = find(value, "lines"); lines != nullptr && lines->is_object()) {
    for (const auto& line : lines->get_object()) {
      if (line.value().is_string()) {
        mark.lines[line.key()] = from_hex(std::string(line.value().get_string()));
      }
    }
  }
  return std::optional(std::move(mark));
}

Status write_mark(const std::string& out, const RunMark& mark) {
  json::object lines;
  for (const auto& [custom_id, fingerprint] : mark.lines) lines[custom_id] = to_hex(fingerprint);
  json::array batches;
  for (const RunBatch& batch : mark.batches) {
    batches.push_back(
        {{"id", batch.id}, {"deadline", batch.deadline}, {"first_line", batch.first_line}});
  }
  const json::object value = {
      {"parkd_run", kVersion},
      {"id", mark.run_id},
      {"complete", mark.is_complete},
      {"input", to_hex(mark.input)},
      {"model", mark.settings.model},
      {"priority", mark.settings.priority},
      {"deadline", mark.settings.deadline},
      {"retention", mark.settings.retention},
      {"batches", std::move(batches)},
      {"heads", json::value_from(mark.heads)},
      {"taking_out", json::value_from(mark.taking_out)},
      {"lines", std::move(lines)},
  };
  return replace_file(mark_path(out), json::serialize(value) + "\n",
                      0600);  // no result: it is kept private
}

Status sync_directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int file = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = file >= 0 && ::fsync(file) == 0;
  const int why = errno;
  if (file >= 0) ::close(file);
  if (synced) return {};
  return invalid("cannot sync the directory " + directory + ": " + std::strerror(why));
}

}  // namespace parkd::jobctl
