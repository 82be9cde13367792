// SmallDisk: a file system of a few MiB mounted on a directory, and what fills it. Needs root
// (PARKD_NEEDS_ROOT). The mount is seen by the test and its children alone, and goes with them.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>

#include "lib/base/check.h"

namespace parkd::testing {

class SmallDisk {
 public:
  enum class Kind { tmpfs, ext4 };

  // `at` is made when it is missing. The first of a process comes before any other thread
  // (RocksDB's outlive its stores): they would not see the mount.
  SmallDisk(std::string at, int64_t size_mb, Kind kind) : at_(std::move(at)) {
    std::filesystem::create_directories(at_);
    static const bool mounts_are_private =
        ::unshare(CLONE_NEWNS) == 0 &&
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    PARKD_CHECK(mounts_are_private, "unshare");
    if (kind == Kind::tmpfs) {
      const std::string options = "mode=0711,size=" + std::to_string(size_mb) + "m";
      PARKD_CHECK(::mount("tmpfs", at_.c_str(), "tmpfs", 0, options.c_str()) == 0, "mount tmpfs");
      return;
    }
    image_ = at_ + ".img";
    run("truncate -s " + std::to_string(size_mb) + "M " + image_);
    run("mkfs.ext4 -q -m 0 -O ^has_journal " + image_);
    run("mount -o loop " + image_ + " " + at_);
    run("chmod 0711 " + at_);
  }
  ~SmallDisk() {
    (void)::umount2(at_.c_str(), MNT_DETACH);
    if (!image_.empty()) (void)::unlink(image_.c_str());
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;

  // Takes what is free but `left_bytes`.
  void fill(int64_t left_bytes = 0) {
    const int file = ::open(ballast().c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    PARKD_CHECK(file >= 0, "the ballast");
    const std::string block(65536, 'x');
    for (size_t size = block.size(); size > 0;) {
      if (::write(file, block.data(), size) >= 0) continue;
      PARKD_CHECK(errno == ENOSPC, "the disk fails in another way");
      size /= 2;
    }
    const auto taken = static_cast<int64_t>(std::filesystem::file_size(ballast()));
    if (left_bytes > 0) {
      PARKD_CHECK(::ftruncate(file, std::max<int64_t>(taken - left_bytes, 0)) == 0, "ftruncate");
    }
    ::close(file);
  }
  void make_room() { std::filesystem::remove(ballast()); }

 private:
  static void run(const std::string& command) {
    PARKD_CHECK(std::system(command.c_str()) == 0, command);
  }
  std::string ballast() const { return at_ + "/ballast"; }

  const std::string at_;
  std::string image_;
};

}  // namespace parkd::testing
