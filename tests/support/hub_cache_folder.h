// A Hugging Face cache as `hf download` leaves it, of one repository: blobs by their hash,
// snapshots of links to them, refs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace parkd::testing {

class HubCacheFolder {
 public:
  // `folder`: the cache's; `repository`: "ORG/NAME".
  HubCacheFolder(std::string folder, const std::string& repository)
      : folder_(std::move(folder)),
        repository_(folder_ / ("models--" + repository.substr(0, repository.find('/')) + "--" +
                               repository.substr(repository.find('/') + 1))) {}

  // 40 digits.
  static std::string commit(char digit) { return std::string(40, digit); }

  void ref(const std::string& name, const std::string& text) const {
    const auto path = repository_ / "refs" / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }
  // Links `file` of the commit's snapshot to a blob and returns the blob's path, for the caller to
  // fill: until then the link leads to nothing.
  std::string link(const std::string& commit, const std::string& file) const {
    const auto path = snapshot(commit) / file;
    std::filesystem::create_directories(path.parent_path());
    std::filesystem::create_directories(repository_ / "blobs");
    const auto blob =
        repository_ / "blobs" / ("b" + std::to_string(std::hash<std::string>()(file)));
    std::filesystem::create_symlink(blob.lexically_relative(path.parent_path()), path);
    return blob.string();
  }
  void add(const std::string& commit, const std::string& file) const {
    std::ofstream(link(commit, file), std::ios::binary) << "bytes of " << file;
  }
  // Whole files, by their paths in the repository.
  void fill(const std::string& commit,
            const std::map<std::string, std::vector<uint8_t>>& files) const {
    for (const auto& [file, bytes] : files) {
      std::ofstream(link(commit, file), std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
    }
  }

  std::filesystem::path snapshot(const std::string& commit) const {
    return repository_ / "snapshots" / commit;
  }
  const std::filesystem::path& repository() const { return repository_; }
  std::string folder() const { return folder_.string(); }

 private:
  std::filesystem::path folder_;
  std::filesystem::path repository_;
};

}  // namespace parkd::testing
