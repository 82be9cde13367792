// FileDriver: a FileStore's verbs as plain calls that wait for their completion. For tests.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/store/file_store.h"

namespace parkd {

class FileDriver {
 public:
  explicit FileDriver(FileStore& store) : store_(store) {}

  Result<std::string> begin(const std::string& tenant) {
    return wait<std::string>([&](auto done) { store_.begin_upload(tenant, done); });
  }
  Result<int64_t> append(const std::string& id, std::string piece) {
    return wait<int64_t>([&](auto done) { store_.append(id, std::move(piece), done); });
  }
  Result<StoredFile> finish(const std::string& id, FileSpec spec) {
    return wait<StoredFile>([&](auto done) { store_.finish_upload(id, std::move(spec), done); });
  }
  Result<StoredFile> get(const std::string& id, const std::string& tenant = "") {
    return wait<StoredFile>([&](auto done) { store_.get_file(id, tenant, done); });
  }
  Result<std::string> piece(const std::string& id, int64_t n, const std::string& tenant = "") {
    return wait<std::string>([&](auto done) { store_.read_piece(id, tenant, n, done); });
  }
  Result<std::vector<StoredFile>> list(FileFilter filter = {}) {
    return wait<std::vector<StoredFile>>(
        [&](auto done) { store_.list_files(std::move(filter), done); });
  }
  Result<StoredFile> keep(const std::string& id, const std::string& tenant, WallTime until) {
    return wait<StoredFile>([&](auto done) { store_.keep_file(id, tenant, until, done); });
  }
  Result<StoredFile> remove(const std::string& id, const std::string& tenant = "") {
    return wait<StoredFile>([&](auto done) { store_.remove_file(id, tenant, done); });
  }
  Result<int64_t> purge() {
    return wait<int64_t>([&](auto done) { store_.purge_files(done); });
  }
  Result<FileFigures> figures() {
    return wait<FileFigures>([&](auto done) { store_.file_figures(done); });
  }

  // A whole upload in the pieces that the contract wants.
  Result<StoredFile> upload(const std::string& tenant, const std::string& bytes,
                            FileSpec spec = {.filename = "in.jsonl"}) {
    auto id = begin(tenant);
    if (!id.ok()) return id.status();
    for (size_t at = 0; at < bytes.size(); at += kFilePieceBytes) {
      const auto added = append(*id, bytes.substr(at, kFilePieceBytes));
      if (!added.ok()) {
        store_.abandon_upload(*id);
        return added.status();
      }
    }
    auto file = finish(*id, std::move(spec));
    if (!file.ok()) store_.abandon_upload(*id);
    return file;
  }
  // All of a file's bytes.
  Result<std::string> read(const std::string& id, const std::string& tenant = "") {
    std::string bytes;
    for (int64_t n = 0;; ++n) {
      auto next = piece(id, n, tenant);
      if (!next.ok()) return next.status();
      if (next->empty()) return bytes;
      bytes += *next;
    }
  }

 private:
  template <class T, class Call>
  static Result<T> wait(Call&& call) {
    const auto answer = std::make_shared<std::promise<Result<T>>>();
    call([answer](Result<T> result) { answer->set_value(std::move(result)); });
    return answer->get_future().get();
  }

  FileStore& store_;
};

}  // namespace parkd
