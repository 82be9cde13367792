#include "lib/store/rocksdb/synced_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "lib/base/file_io.h"
#include "lib/store/rocksdb/wal_scan.h"

namespace parkd::wal {
namespace {

constexpr std::string_view kCommitMagic = "parkd.synced/1 ";
constexpr std::string_view kFileMagic = "parkd synced mark 1\n";

void put(std::string& out, uint64_t value, int n_bytes) {
  for (int i = 0; i < n_bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t take(std::string_view& bytes, size_t n_bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < n_bytes; ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  bytes.remove_prefix(n_bytes);
  return value;
}

Status failed(const std::string& what) {
  return io_failure(what + " the file " + std::string(kSyncedFile), errno);
}

}  // namespace

std::string encode_commit_mark(const SyncedMark& mark) {
  std::string bytes(kCommitMagic);
  put(bytes, mark.nonce, 8);
  put(bytes, mark.sequence, 8);
  return bytes;
}

std::optional<CommitMark> decode_commit_mark(std::string_view bytes) {
  if (bytes.size() != kCommitMagic.size() + 16) return std::nullopt;
  if (bytes.substr(0, kCommitMagic.size()) != kCommitMagic) return std::nullopt;
  bytes.remove_prefix(kCommitMagic.size());
  CommitMark mark;
  mark.nonce = take(bytes, 8);
  mark.sequence = take(bytes, 8);
  return mark;
}

SyncedFile::~SyncedFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status SyncedFile::open(const std::string& dir) {
  const std::string path = dir + "/" + std::string(kSyncedFile);
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  return fd_ >= 0 ? Status() : failed("open");
}

Status SyncedFile::write(const SyncedMark& mark) {
  std::string bytes(kFileMagic);
  put(bytes, mark.nonce, 8);
  put(bytes, mark.sequence, 8);
  put(bytes, mark.log_number, 8);
  put(bytes, mark.log_first, 8);
  put(bytes, crc32c(bytes), 4);
  const ssize_t n = ::pwrite(fd_, bytes.data(), bytes.size(), 0);
  return n == static_cast<ssize_t>(bytes.size()) ? Status() : failed("write");
}

Status SyncedFile::sync() {
  return ::fdatasync(fd_) == 0 ? Status() : failed("sync");
}

std::optional<SyncedMark> SyncedFile::read(const std::string& dir, std::string& why) {
  std::ifstream in(dir + "/" + std::string(kSyncedFile), std::ios::binary);
  if (!in) return std::nullopt;
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::string_view bytes = text;
  if (bytes.empty()) return std::nullopt;  // made, and the power went
  const size_t n_summed = kFileMagic.size() + 32;
  if (bytes.size() != n_summed + 4 || bytes.substr(0, kFileMagic.size()) != kFileMagic) {
    why = "it is not of the form";
    return std::nullopt;
  }
  const uint32_t sum = crc32c(bytes.substr(0, n_summed));
  bytes.remove_prefix(kFileMagic.size());
  SyncedMark mark;
  mark.nonce = take(bytes, 8);
  mark.sequence = take(bytes, 8);
  mark.log_number = take(bytes, 8);
  mark.log_first = take(bytes, 8);
  if (take(bytes, 4) != sum) {
    why = "its checksum is wrong";
    return std::nullopt;
  }
  return mark;
}

}  // namespace parkd::wal
