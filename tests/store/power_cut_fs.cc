#include "tests/store/power_cut_fs.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

namespace parkd {

using rocksdb::FileOptions;
using rocksdb::FSDirectory;
using rocksdb::FSRandomAccessFile;
using rocksdb::FSSequentialFile;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

namespace fs = std::filesystem;

std::string normal(const std::string& path) {
  std::string text = fs::path(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::string dir_of(const std::string& path) {
  return fs::path(path).parent_path().string();
}

bool passes_through(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  return name == "LOCK" || name == "SYNCED" || name == "ACCEPT-LOSS" || name.substr(0, 3) == "LOG";
}

IOStatus no_such_file(const std::string& path) {
  return IOStatus::PathNotFound(path);
}

// A file with unsynced bytes, as it was when it was opened.
class CopiedSequentialFile final : public FSSequentialFile {
 public:
  explicit CopiedSequentialFile(std::string bytes) : bytes_(std::move(bytes)) {}
  IOStatus Read(size_t n, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) override {
    const size_t n_read = std::min(n, bytes_.size() - position_);
    std::memcpy(scratch, bytes_.data() + position_, n_read);
    position_ += n_read;
    *result = Slice(scratch, n_read);
    return IOStatus::OK();
  }
  IOStatus Skip(uint64_t n) override {
    position_ = std::min<size_t>(bytes_.size(), position_ + n);
    return IOStatus::OK();
  }

 private:
  const std::string bytes_;
  size_t position_ = 0;
};

class CopiedRandomAccessFile final : public FSRandomAccessFile {
 public:
  explicit CopiedRandomAccessFile(std::string bytes) : bytes_(std::move(bytes)) {}
  IOStatus Read(uint64_t offset, size_t n, const IOOptions&, Slice* result, char* scratch,
                IODebugContext*) const override {
    const size_t first = std::min<size_t>(offset, bytes_.size());
    const size_t n_read = std::min(n, bytes_.size() - first);
    std::memcpy(scratch, bytes_.data() + first, n_read);
    *result = Slice(scratch, n_read);
    return IOStatus::OK();
  }

 private:
  const std::string bytes_;
};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

class PowerCutFile final : public FSWritableFile {
 public:
  PowerCutFile(PowerCutFs& file_system, PowerCutFs::NodePtr node)
      : file_system_(file_system), node_(std::move(node)) {}
  using FSWritableFile::Append;
  IOStatus Append(const Slice& data, const IOOptions&, IODebugContext*) override {
    return file_system_.append(*node_, data);
  }
  IOStatus Truncate(uint64_t size, const IOOptions&, IODebugContext*) override {
    return file_system_.truncate(*node_, size);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Flush(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }
  IOStatus Sync(const IOOptions&, IODebugContext*) override { return file_system_.sync(*node_); }
  bool IsSyncThreadSafe() const override { return true; }
  uint64_t GetFileSize(const IOOptions&, IODebugContext*) override {
    return file_system_.size_of(*node_);
  }

 private:
  PowerCutFs& file_system_;
  const PowerCutFs::NodePtr node_;
};

class PowerCutDirectory final : public FSDirectory {
 public:
  PowerCutDirectory(PowerCutFs& file_system, std::string dir)
      : file_system_(file_system), dir_(std::move(dir)) {}
  IOStatus Fsync(const IOOptions&, IODebugContext*) override {
    return file_system_.sync_directory(dir_);
  }
  IOStatus Close(const IOOptions&, IODebugContext*) override { return IOStatus::OK(); }

 private:
  PowerCutFs& file_system_;
  const std::string dir_;
};

PowerCutFs::PowerCutFs(std::string holding_dir)
    : FileSystemWrapper(rocksdb::FileSystem::Default()), holding_dir_(std::move(holding_dir)) {
  fs::remove_all(holding_dir_);  // files without a durable name
  fs::create_directories(holding_dir_);
}

void PowerCutFs::cut() {
  const std::lock_guard lock(mutex_);
  is_cut_ = true;
}

void PowerCutFs::cut_at_sync(int64_t n, int torn_percent) {
  const std::lock_guard lock(mutex_);
  cut_at_sync_ = n_syncs_ + n;
  torn_percent_ = torn_percent;
  sectors_.reset();
}

void PowerCutFs::cut_at_sync_in_any_order(int64_t n, uint64_t seed) {
  const std::lock_guard lock(mutex_);
  cut_at_sync_ = n_syncs_ + n;
  sectors_.emplace(seed);
}

void PowerCutFs::set_full(bool is_full) {
  const std::lock_guard lock(mutex_);
  is_full_ = is_full;
}

int64_t PowerCutFs::n_syncs() const {
  const std::lock_guard lock(mutex_);
  return n_syncs_;
}

bool PowerCutFs::is_cut() const {
  const std::lock_guard lock(mutex_);
  return is_cut_;
}

// --- mutex_ held

IOStatus PowerCutFs::powered() const {
  return is_cut_ ? IOStatus::IOError("the power is off") : IOStatus::OK();
}

// Counts a sync, of a file or (nullptr) of a directory; the fatal one tears the file.
IOStatus PowerCutFs::count_sync(Node* node) {
  ++n_syncs_;
  if (cut_at_sync_ != 0 && n_syncs_ >= cut_at_sync_ && !is_cut_) {
    if (sectors_) {
      // Bytes of files that nobody was syncing may have been written out too.
      for (auto& [path, file] : live_) write_some_sectors(*file);
    } else if (node != nullptr) {
      (void)write_base(*node, node->unsynced.size() * static_cast<size_t>(torn_percent_) / 100);
    }
    is_cut_ = true;
  }
  if (is_full_) return IOStatus::NoSpace("the disk is full");
  return powered();
}

void PowerCutFs::write_some_sectors(Node& node) {
  constexpr uint64_t kSector = 512;
  const uint64_t percent = (*sectors_)() % 101;
  size_t n_kept = 0;  // up to the end of the last sector that is written
  for (size_t at = 0; at < node.unsynced.size();) {
    const size_t left = kSector - (node.n_synced_bytes + at) % kSector;
    const size_t n = std::min<size_t>(left, node.unsynced.size() - at);
    if ((*sectors_)() % 100 < percent) {
      n_kept = at + n;
    } else {
      std::memset(node.unsynced.data() + at, 0, n);
    }
    at += n;
  }
  // The file's length is written as any other of its sectors.
  const bool has_length = (*sectors_)() % 2 == 0;
  (void)write_base(node, has_length ? node.unsynced.size() : n_kept);
}

IOStatus PowerCutFs::write_base(Node& node, size_t n_bytes) {
  std::ofstream out(node.base_path, std::ios::binary | std::ios::app);
  out.write(node.unsynced.data(), static_cast<std::streamsize>(n_bytes));
  out.flush();
  if (!out) return IOStatus::IOError("cannot write " + node.base_path);
  node.n_synced_bytes += n_bytes;
  node.unsynced.erase(0, n_bytes);
  return IOStatus::OK();
}

void PowerCutFs::learn(const std::string& path) {
  const std::string dir = dir_of(path);
  if (!learned_dirs_.insert(dir).second) return;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(dir, none)) {
    const std::string name = normal(entry.path().string());
    if (!entry.is_regular_file() || passes_through(name)) continue;
    auto node = std::make_shared<Node>();
    node->base_path = name;
    node->n_synced_bytes = entry.file_size();
    live_[name] = std::move(node);
  }
}

PowerCutFs::NodePtr PowerCutFs::find(const std::string& path) {
  learn(path);
  const auto found = live_.find(path);
  return found == live_.end() ? nullptr : found->second;
}

std::string PowerCutFs::next_holding_path() {
  return holding_dir_ + "/" + std::to_string(++n_held_);
}

// --- for the file and directory objects

IOStatus PowerCutFs::append(Node& node, const Slice& data) {
  const std::lock_guard lock(mutex_);
  if (is_full_) return IOStatus::NoSpace("the disk is full");
  node.unsynced.append(data.data(), data.size());
  return powered();
}

IOStatus PowerCutFs::sync(Node& node) {
  const std::lock_guard lock(mutex_);
  IOStatus status = count_sync(&node);
  if (status.ok()) status = write_base(node, node.unsynced.size());
  return status;
}

IOStatus PowerCutFs::truncate(Node& node, uint64_t size) {
  const std::lock_guard lock(mutex_);
  if (size < node.n_synced_bytes) return IOStatus::NotSupported("cutting synced bytes");
  if (size < node.n_synced_bytes + node.unsynced.size()) {
    node.unsynced.resize(size - node.n_synced_bytes);
  }
  return powered();
}

uint64_t PowerCutFs::size_of(const Node& node) const {
  const std::lock_guard lock(mutex_);
  return node.n_synced_bytes + node.unsynced.size();
}

// Makes the base directory look like the live one: new names first, then what is gone goes.
IOStatus PowerCutFs::sync_directory(const std::string& dir) {
  const std::lock_guard lock(mutex_);
  IOStatus status = count_sync(nullptr);
  if (!status.ok()) return status;
  learn(dir + "/any");
  std::map<std::string, NodePtr> by_base;  // base path -> the live file whose bytes lie there
  for (const auto& [path, node] : live_) by_base[node->base_path] = node;
  for (const auto& [path, node] : live_) {
    if (dir_of(path) != dir || node->base_path == path) continue;
    const auto in_the_way = by_base.find(path);
    if (in_the_way != by_base.end()) {
      NodePtr other = in_the_way->second;
      const std::string held = next_holding_path();
      fs::rename(path, held);
      other->base_path = held;
      by_base.erase(path);
      by_base[held] = std::move(other);
    }
    fs::rename(node->base_path, path);
    by_base.erase(node->base_path);
    node->base_path = path;
    by_base[path] = node;
  }
  for (const auto& entry : fs::directory_iterator(dir)) {
    const std::string path = normal(entry.path().string());
    if (!entry.is_regular_file() || passes_through(path) || live_.count(path) != 0) continue;
    const auto moved = by_base.find(path);
    if (moved == by_base.end()) {
      fs::remove(path);
      continue;
    }
    // Renamed into a directory that was not synced yet: its bytes wait for that.
    const std::string held = next_holding_path();
    fs::rename(path, held);
    moved->second->base_path = held;
  }
  return status;
}

// --- FileSystem

IOStatus PowerCutFs::NewSequentialFile(const std::string& path, const FileOptions& options,
                                       std::unique_ptr<FSSequentialFile>* result,
                                       IODebugContext* dbg) {
  if (passes_through(path)) return target()->NewSequentialFile(path, options, result, dbg);
  const std::lock_guard lock(mutex_);
  if (is_cut_) return powered();
  const NodePtr node = find(normal(path));
  if (node == nullptr) return no_such_file(path);
  if (node->unsynced.empty()) {
    return target()->NewSequentialFile(node->base_path, options, result, dbg);
  }
  *result = std::make_unique<CopiedSequentialFile>(read_file(node->base_path) + node->unsynced);
  return IOStatus::OK();
}

IOStatus PowerCutFs::NewRandomAccessFile(const std::string& path, const FileOptions& options,
                                         std::unique_ptr<FSRandomAccessFile>* result,
                                         IODebugContext* dbg) {
  const std::lock_guard lock(mutex_);
  if (is_cut_) return powered();
  const NodePtr node = find(normal(path));
  if (node == nullptr) return no_such_file(path);
  if (node->unsynced.empty()) {
    return target()->NewRandomAccessFile(node->base_path, options, result, dbg);
  }
  *result = std::make_unique<CopiedRandomAccessFile>(read_file(node->base_path) + node->unsynced);
  return IOStatus::OK();
}

IOStatus PowerCutFs::NewWritableFile(const std::string& path, const FileOptions& options,
                                     std::unique_ptr<FSWritableFile>* result, IODebugContext* dbg) {
  if (passes_through(path)) return target()->NewWritableFile(path, options, result, dbg);
  const std::lock_guard lock(mutex_);
  if (is_cut_) return powered();
  learn(normal(path));
  auto node = std::make_shared<Node>();
  node->base_path = next_holding_path();
  if (!std::ofstream(node->base_path)) return IOStatus::IOError("cannot make " + node->base_path);
  live_[normal(path)] = node;
  *result = std::make_unique<PowerCutFile>(*this, std::move(node));
  return IOStatus::OK();
}

IOStatus PowerCutFs::NewDirectory(const std::string& path, const IOOptions&,
                                  std::unique_ptr<FSDirectory>* result, IODebugContext*) {
  const std::lock_guard lock(mutex_);
  if (!fs::is_directory(path)) return no_such_file(path);
  *result = std::make_unique<PowerCutDirectory>(*this, normal(path));
  return IOStatus::OK();
}

IOStatus PowerCutFs::FileExists(const std::string& path, const IOOptions& options,
                                IODebugContext* dbg) {
  if (passes_through(path) || fs::is_directory(path)) {
    return target()->FileExists(path, options, dbg);
  }
  const std::lock_guard lock(mutex_);
  return find(normal(path)) != nullptr ? IOStatus::OK() : IOStatus::NotFound(path);
}

IOStatus PowerCutFs::GetChildren(const std::string& dir, const IOOptions&,
                                 std::vector<std::string>* names, IODebugContext*) {
  const std::lock_guard lock(mutex_);
  names->clear();
  if (!fs::is_directory(dir)) return no_such_file(dir);
  const std::string wanted = normal(dir);
  learn(wanted + "/any");
  for (const auto& [path, node] : live_) {
    if (dir_of(path) == wanted) names->push_back(fs::path(path).filename().string());
  }
  for (const auto& entry : fs::directory_iterator(wanted)) {
    const std::string path = entry.path().string();
    if (entry.is_directory() || passes_through(path)) {
      names->push_back(entry.path().filename().string());
    }
  }
  return IOStatus::OK();
}

IOStatus PowerCutFs::GetChildrenFileAttributes(const std::string& dir, const IOOptions& options,
                                               std::vector<rocksdb::FileAttributes>* result,
                                               IODebugContext* dbg) {
  return FileSystem::GetChildrenFileAttributes(dir, options, result, dbg);
}

IOStatus PowerCutFs::DeleteFile(const std::string& path, const IOOptions& options,
                                IODebugContext* dbg) {
  if (passes_through(path)) return target()->DeleteFile(path, options, dbg);
  const std::lock_guard lock(mutex_);
  if (is_cut_) return powered();
  learn(normal(path));
  return live_.erase(normal(path)) != 0 ? IOStatus::OK() : no_such_file(path);
}

IOStatus PowerCutFs::GetFileSize(const std::string& path, const IOOptions& options, uint64_t* size,
                                 IODebugContext* dbg) {
  if (passes_through(path)) return target()->GetFileSize(path, options, size, dbg);
  const std::lock_guard lock(mutex_);
  const NodePtr node = find(normal(path));
  if (node == nullptr) return no_such_file(path);
  *size = node->n_synced_bytes + node->unsynced.size();
  return IOStatus::OK();
}

IOStatus PowerCutFs::GetFileModificationTime(const std::string& path, const IOOptions& options,
                                             uint64_t* time, IODebugContext* dbg) {
  if (passes_through(path)) return target()->GetFileModificationTime(path, options, time, dbg);
  const std::lock_guard lock(mutex_);
  const NodePtr node = find(normal(path));
  if (node == nullptr) return no_such_file(path);
  return target()->GetFileModificationTime(node->base_path, options, time, dbg);
}

IOStatus PowerCutFs::RenameFile(const std::string& from, const std::string& to,
                                const IOOptions& options, IODebugContext* dbg) {
  if (passes_through(from)) return target()->RenameFile(from, to, options, dbg);
  const std::lock_guard lock(mutex_);
  if (is_cut_) return powered();
  NodePtr node = find(normal(from));
  if (node == nullptr) return no_such_file(from);
  learn(normal(to));
  live_.erase(normal(from));
  live_[normal(to)] = std::move(node);
  return IOStatus::OK();
}

}  // namespace parkd
