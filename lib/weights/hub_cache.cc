#include "lib/weights/hub_cache.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <vector>

#include "lib/weights/gguf_split.h"
#include "lib/weights/model_folder.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCommitCharacters = "0123456789abcdef";
constexpr std::string_view kNameCharacters =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
constexpr size_t kCommitDigits = 40;
constexpr size_t kPartBytesMax = 255;  // of a file's name
constexpr size_t kListedMax = 20;      // files in a message

bool is_commit(std::string_view text) {
  return text.size() == kCommitDigits && text.find_first_not_of(kCommitCharacters) == text.npos;
}

bool is_gguf(std::string_view file) {
  return file.size() > 5 && file.substr(file.size() - 5) == ".gguf";
}

// Parts of letters, digits and . _ - between slashes; none that a file system takes for another
// place.
bool is_relative_path(std::string_view path) {
  for (;;) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part.size() > kPartBytesMax || part == "." || part == ".." ||
        part.find_first_not_of(kNameCharacters) != part.npos) {
      return false;
    }
    if (slash == path.npos) return true;
    path.remove_prefix(slash + 1);
  }
}

// huggingface_hub's rules for the two parts of a repository's name. "--" stands for the slash in
// the cache's folders, so it cannot be in a name.
bool is_repository_part(std::string_view part) {
  return is_relative_path(part) && part.find('/') == part.npos && part.find("--") == part.npos &&
         part.find("..") == part.npos && part.front() != '-' && part.front() != '.' &&
         part.back() != '-' && part.back() != '.';
}

// Where no file is named, the two commands of a directory and of a file.
std::string fetch_command(const HubId& id) {
  const std::string before = "hf download " + id.repository;
  const std::string behind = id.revision == "main" ? "" : " --revision " + id.revision;
  if (!id.file.empty()) return before + " " + id.file + behind;
  return before + behind + ", or for one file of it " + before + " FILE.gguf" + behind;
}

// One look-up, with what its messages say.
class Search {
 public:
  Search(const HubCache& cache, const HubId& id, const std::string& hf_id)
      : cache_(cache), id_(id), hf_id_(hf_id) {
    std::string folder = "models--" + id.repository;
    folder.replace(folder.find('/'), 1, "--");
    repository_ = fs::path(cache.folder) / folder;
  }

  Result<HubFile> run() const {
    PARKD_RETURN_IF_ERROR(look_at(repository_, "there is no " + repository_.string()));
    PARKD_ASSIGN_OR_RETURN(const std::string commit, find_commit());
    const fs::path snapshot = repository_ / "snapshots" / commit;
    PARKD_RETURN_IF_ERROR(look_at(snapshot, "there is no " + snapshot.string()));
    std::string file = id_.file;
    if (file.empty() && is_model_folder(snapshot.string())) {
      return HubFile{snapshot.string(), id_.repository, commit, ""};
    }
    if (file.empty()) {
      PARKD_ASSIGN_OR_RETURN(file, only_file(snapshot));
    }
    const fs::path path = snapshot / file;
    std::error_code ignored;
    PARKD_RETURN_IF_ERROR(look_at(path, fs::is_symlink(fs::symlink_status(path, ignored))
                                            ? path.string() + " is a link to nothing"
                                            : "there is no " + path.string()));
    if (!fs::is_regular_file(path, ignored)) {
      return invalid(about(path.string() + " is not a file"));
    }
    return HubFile{path.string(), id_.repository, commit, file};
  }

 private:
  std::string about(const std::string& what) const { return "hf_id " + hf_id_ + ": " + what; }

  // Whether `path` is there, links followed.
  Status look_at(const fs::path& path, const std::string& if_not) const {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (fs::exists(status)) return {};
    if (status.type() == fs::file_type::not_found) return absent(if_not);
    return denied(about("cannot look at " + path.string() + ": " + error.message()));
  }

  Status absent(const std::string& what) const {
    return not_found(about(
        what + ". parkd downloads nothing; this fetches it: " + fetch_command(id_) +
        " (hf: PyPI's huggingface_hub). Looked in " + cache_.folder + ", by " + cache_.named_by));
  }

  Result<std::string> find_commit() const {
    if (is_commit(id_.revision)) return id_.revision;
    const fs::path ref = repository_ / "refs" / id_.revision;
    PARKD_RETURN_IF_ERROR(look_at(ref, "there is no " + ref.string()));
    std::ifstream stream(ref, std::ios::binary);
    if (!stream) return denied(about("cannot read " + ref.string()));
    std::string commit(kCommitDigits + 2, '\0');  // with a line's end, and a byte too many
    stream.read(commit.data(), static_cast<std::streamsize>(commit.size()));
    commit.resize(static_cast<size_t>(stream.gcount()));
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == '\r')) commit.pop_back();
    if (is_commit(commit)) return commit;
    return corrupt(about(ref.string() + " does not hold a commit (40 hexadecimal digits)"));
  }

  // Of the snapshot and the folders in it, links to folders not followed.
  Result<std::string> only_file(const fs::path& snapshot) const {
    std::vector<std::string> files;
    std::error_code error;
    for (fs::recursive_directory_iterator entry(snapshot, error), end; !error && entry != end;
         entry.increment(error)) {
      const fs::path file = entry->path().lexically_relative(snapshot);
      if (is_gguf(file.string())) files.push_back(file.string());
    }
    if (error) return denied(about("cannot read " + snapshot.string() + ": " + error.message()));
    std::sort(files.begin(), files.end());
    if (const std::string else_there = what_else_is_in(snapshot.string());
        files.empty() && !else_there.empty()) {
      return invalid(about(snapshot.string() + " holds " + else_there));
    }
    if (files.empty()) {
      return absent("there is no GGUF file in " + snapshot.string() +
                    ", and no config.json with model.safetensors");
    }
    if (files.size() == 1) return files.front();
    if (const auto first = first_of_gguf_parts(files)) return *first;
    std::string list;
    for (size_t i = 0; i < std::min(files.size(), kListedMax); ++i) {
      list += (i == 0 ? "" : ", ") + files[i];
    }
    if (files.size() > kListedMax) {
      list += " and " + std::to_string(files.size() - kListedMax) + " more";
    }
    return invalid(about(std::to_string(files.size()) + " GGUF files in " + snapshot.string() +
                         ": " + list + "; name one, " + id_.repository +
                         (id_.revision == "main" ? "" : "@" + id_.revision) + ":" + files.front()));
  }

  const HubCache& cache_;
  const HubId& id_;
  const std::string& hf_id_;
  fs::path repository_;
};

}  // namespace

Result<HubId> parse_hub_id(std::string_view hf_id) {
  const auto refuse = [&](const std::string& why) {
    return invalid("\"" + std::string(hf_id) +
                   "\" is not an hf_id (ORG/NAME[@REVISION][:FILE.gguf]): " + why);
  };
  HubId id;
  std::string_view repository = hf_id;
  if (const size_t colon = repository.find(':'); colon != repository.npos) {
    id.file = repository.substr(colon + 1);
    repository = repository.substr(0, colon);
    if (!is_relative_path(id.file) || !is_gguf(id.file)) {
      return refuse("what stands behind : must be a file of the repository that ends in .gguf");
    }
  }
  if (const size_t at = repository.find('@'); at != repository.npos) {
    id.revision = repository.substr(at + 1);
    repository = repository.substr(0, at);
    if (!is_relative_path(id.revision)) {
      return refuse("what stands behind @ must be a branch, a tag or a commit");
    }
  }
  const size_t slash = repository.find('/');
  if (slash == repository.npos || !is_repository_part(repository.substr(0, slash)) ||
      !is_repository_part(repository.substr(slash + 1))) {
    return refuse("it must begin with an organisation, a slash and a name, both as on the hub");
  }
  id.repository = repository;
  return id;
}

Result<HubCache> find_hub_cache(const EnvironmentVariables& variables) {
  struct Place {
    const char* variable;
    const char* below;
  };
  constexpr Place kPlaces[] = {{"HF_HUB_CACHE", ""},
                               {"HF_HOME", "hub"},
                               {"XDG_CACHE_HOME", "huggingface/hub"},
                               {"HOME", ".cache/huggingface/hub"}};
  for (const Place& place : kPlaces) {
    const std::optional<std::string> value = variables(place.variable);
    if (!value || value->empty()) continue;
    std::string folder = *value;
    if (folder.rfind("~/", 0) == 0) folder.replace(0, 1, variables("HOME").value_or("~"));
    if (folder.front() != '/' || folder.find('$') != folder.npos) {
      return invalid(std::string(place.variable) + " is \"" + *value +
                     "\", it must be an absolute path without variables");
    }
    if (place.below[0] != '\0') folder += "/" + std::string(place.below);
    return HubCache{fs::path(folder).lexically_normal().string(), place.variable};
  }
  return invalid("HOME is not set: set HF_HUB_CACHE to the folder of the Hugging Face cache");
}

Result<HubCache> find_hub_cache() {
  return find_hub_cache([](const char* name) -> std::optional<std::string> {
    const char* value = std::getenv(name);
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  });
}

Result<HubFile> find_hub_file(const HubCache& cache, const std::string& hf_id) {
  PARKD_ASSIGN_OR_RETURN(const HubId id, parse_hub_id(hf_id));
  return Search(cache, id, hf_id).run();
}

}  // namespace parkd
