// PowerCutFs: a file system that forgets what was not synced, as a machine does when its power
// goes.
//
// The base directory always holds exactly what would survive. Bytes that were appended but not
// synced live in memory and reach the base file only on Sync; a file that was created, renamed or
// deleted appears so in the base directory only when the directory is synced. Until then the bytes
// that were synced lie in a holding directory, which the next PowerCutFs empties. So cut() and a
// kill -9 of the process leave the same: what the base directory holds.
//
// RocksDB's LOG and LOCK files pass through (nothing depends on them), and directories are made for
// good. Thread-safe.
#pragma once

#include <rocksdb/file_system.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace parkd {

class PowerCutFs final : public rocksdb::FileSystemWrapper {
 public:
  // `holding_dir` lies on the same file system as the store, outside its directory.
  explicit PowerCutFs(std::string holding_dir);
  static const char* kClassName() { return "PowerCutFs"; }
  const char* Name() const override { return kClassName(); }

  // The power goes: every later operation fails.
  void cut();
  // The power goes in the middle of the n-th sync from now (n from 1): of the bytes it was to
  // write, the first `torn_percent` reach the disk.
  void cut_at_sync(int64_t n, int torn_percent);
  // As cut_at_sync, and of the sectors (512 bytes) of every file that were to be written, each
  // reaches the disk or not, as a disk that reorders has it: what is missing reads as zeros, or the
  // file ends before it.
  void cut_at_sync_in_any_order(int64_t n, uint64_t seed);
  // While set, appends and syncs fail as on a full disk.
  void set_full(bool is_full);

  int64_t n_syncs() const;
  bool is_cut() const;

  rocksdb::IOStatus NewSequentialFile(const std::string& path, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* result,
                                      rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& path,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* result,
                                        rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus NewDirectory(const std::string& path, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* result,
                                 rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus FileExists(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetChildren(const std::string& dir, const rocksdb::IOOptions& options,
                                std::vector<std::string>* names,
                                rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetChildrenFileAttributes(const std::string& dir,
                                              const rocksdb::IOOptions& options,
                                              std::vector<rocksdb::FileAttributes>* result,
                                              rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetFileSize(const std::string& path, const rocksdb::IOOptions& options,
                                uint64_t* size, rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus GetFileModificationTime(const std::string& path,
                                            const rocksdb::IOOptions& options, uint64_t* time,
                                            rocksdb::IODebugContext* dbg) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* dbg) override;

  // What the store does not use is refused, so that nothing slips past the model.
  rocksdb::IOStatus ReopenWritableFile(const std::string&, const rocksdb::FileOptions&,
                                       std::unique_ptr<rocksdb::FSWritableFile>*,
                                       rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::NotSupported("ReopenWritableFile");
  }
  rocksdb::IOStatus ReuseWritableFile(const std::string&, const std::string&,
                                      const rocksdb::FileOptions&,
                                      std::unique_ptr<rocksdb::FSWritableFile>*,
                                      rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::NotSupported("ReuseWritableFile");
  }
  rocksdb::IOStatus NewRandomRWFile(const std::string&, const rocksdb::FileOptions&,
                                    std::unique_ptr<rocksdb::FSRandomRWFile>*,
                                    rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::NotSupported("NewRandomRWFile");
  }
  rocksdb::IOStatus LinkFile(const std::string&, const std::string&, const rocksdb::IOOptions&,
                             rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::NotSupported("LinkFile");
  }
  rocksdb::IOStatus Truncate(const std::string&, size_t, const rocksdb::IOOptions&,
                             rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::NotSupported("Truncate");
  }

 private:
  friend class PowerCutFile;
  friend class PowerCutDirectory;

  // A file, whatever its name is.
  struct Node {
    std::string base_path;  // where its synced bytes lie
    uint64_t n_synced_bytes = 0;
    std::string unsynced;
  };
  using NodePtr = std::shared_ptr<Node>;

  // --- for the file and directory objects
  rocksdb::IOStatus append(Node& node, const rocksdb::Slice& data);
  rocksdb::IOStatus sync(Node& node);
  rocksdb::IOStatus truncate(Node& node, uint64_t size);
  uint64_t size_of(const Node& node) const;
  rocksdb::IOStatus sync_directory(const std::string& dir);

  // --- mutex_ held
  rocksdb::IOStatus powered() const;
  rocksdb::IOStatus count_sync(Node* node);
  rocksdb::IOStatus write_base(Node& node, size_t n_bytes);
  void write_some_sectors(Node& node);
  void learn(const std::string& path);  // reads the base directory of `path` once
  NodePtr find(const std::string& path);
  std::string next_holding_path();

  const std::string holding_dir_;
  mutable std::mutex mutex_;             // guards all below: RocksDB calls from several threads
  std::map<std::string, NodePtr> live_;  // path -> file, as the process sees it
  std::set<std::string> learned_dirs_;
  int64_t n_held_ = 0;
  int64_t n_syncs_ = 0;
  int64_t cut_at_sync_ = 0;  // 0: never
  int torn_percent_ = 0;
  std::optional<std::mt19937_64> sectors_;  // chooses those that are written
  bool is_cut_ = false;
  bool is_full_ = false;
};

}  // namespace parkd
