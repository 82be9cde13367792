#include "tools/jobctl/config_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "lib/base/json_writer.h"
#include "lib/config/config.h"

namespace parkd::jobctl {
namespace {

// Variables of a configuration that this shell does not have are the daemon's: any value will do.
ConfigInputs any_environment() {
  ConfigInputs inputs = process_inputs();
  inputs.environment = [own = inputs.environment](std::string_view name) {
    const auto value = own(name);
    return value ? value : std::optional<std::string>("/" + std::string(name));
  };
  return inputs;
}

// In a path, ${ names a variable.
std::string escaped_path(const std::string& path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path.compare(i, 2, "${") == 0) out += '$';
    out += path[i];
  }
  return out;
}

struct Line {
  std::string_view text;  // without its end
  size_t end = 0;         // offset behind its newline
};

std::vector<Line> lines_of(std::string_view text) {
  std::vector<Line> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t newline = text.find('\n', at);
    const size_t stop = newline == text.npos ? text.size() : newline;
    const size_t end = newline == text.npos ? text.size() : newline + 1;
    lines.push_back({text.substr(at, stop - at), end});
    at = end;
  }
  return lines;
}

bool is_blank_or_comment(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t\r");
  return first == line.npos || line[first] == '#';
}

bool opens_models(std::string_view line) {
  constexpr std::string_view kKey = "models:";
  return line.substr(0, kKey.size()) == kKey && is_blank_or_comment(line.substr(kKey.size()));
}

struct Place {
  size_t offset = 0;
  size_t indent = 2;
};

// The end of the block under "models:", and how far its dashes are indented.
Result<Place> end_of_list(std::string_view text, const std::string& file_name) {
  const std::vector<Line> lines = lines_of(text);
  size_t i = 0;
  while (i < lines.size() && !opens_models(lines[i].text)) ++i;
  if (i == lines.size()) {
    return invalid(file_name +
                   " has no line \"models:\" with a list under it: add the stanza by hand");
  }
  Place place;
  place.offset = lines[i].end;
  bool first = true;
  for (++i; i < lines.size(); ++i) {
    const std::string_view line = lines[i].text;
    if (is_blank_or_comment(line)) continue;
    const size_t indent = line.find_first_not_of(' ');
    if (indent == 0 && line[0] != '-') break;  // the next key of the file
    if (first) place.indent = indent;
    first = false;
    place.offset = lines[i].end;
  }
  return place;
}

}  // namespace

std::string model_stanza(const NewModel& model, size_t indent) {
  const std::string space(indent, ' ');
  const std::string source = model.local_path.empty()
                                 ? "hf_id: " + json_string(model.hf_id)
                                 : "local_path: " + json_string(escaped_path(model.local_path));
  return space + "- name: " + json_string(model.name) + "\n" + space + "  " + source + "\n" +
         space + "  params:\n" + space + "    dtype: " + model.dtype + "\n";
}

Status check_stanza(const std::string& stanza) {
  return parse_config("models:\n" + stanza, "the stanza", any_environment()).status();
}

Result<std::string> with_model(const std::string& text, const std::string& file_name,
                               const NewModel& model) {
  PARKD_ASSIGN_OR_RETURN(const Config before, parse_config(text, file_name, any_environment()));
  if (before.find_model(model.name) != nullptr) {
    return conflict(file_name + " has a model " + model.name + " already");
  }
  PARKD_ASSIGN_OR_RETURN(const Place place, end_of_list(text, file_name));
  std::string added = text;
  const bool ends_in_line = place.offset == 0 || text[place.offset - 1] == '\n';
  added.insert(place.offset, (ends_in_line ? "" : "\n") + model_stanza(model, place.indent));
  const auto after = parse_config(added, file_name, any_environment());
  if (!after.ok() || after->models.size() != before.models.size() + 1 ||
      after->find_model(model.name) == nullptr) {
    return invalid("the list of models in " + file_name +
                   " is not written as a block: add the stanza by hand");
  }
  return added;
}

Result<std::string> file_with_model(const std::string& path, const NewModel& model) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return invalid("cannot read " + path);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  return with_model(text, path, model);
}

Status replace_file(const std::string& path, const std::string& text) {
  std::error_code unresolved;
  const std::string target = std::filesystem::canonical(path, unresolved).string();
  struct stat before {};
  if (unresolved || ::stat(target.c_str(), &before) != 0) return invalid("cannot find " + path);
  const std::string part = target + ".part";
  const int file = ::open(part.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0) return invalid("cannot write " + part + ": " + std::strerror(errno));
  bool written = ::fchown(file, before.st_uid, before.st_gid) == 0 &&
                 ::fchmod(file, before.st_mode & 07777) == 0 &&
                 ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                 ::fsync(file) == 0;
  written = ::close(file) == 0 && written;
  if (written && ::rename(part.c_str(), target.c_str()) == 0) return {};
  const std::string why = std::strerror(errno);
  ::unlink(part.c_str());
  return invalid("cannot write " + path + ": " + why);
}

}  // namespace parkd::jobctl
