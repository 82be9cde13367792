#include "lib/store/rocksdb/store_failure.h"

#include <utility>

#include "lib/base/disk_space.h"
#include "lib/base/log.h"
#include "lib/store/answer_caught.h"

namespace parkd::embedded {
namespace {

constexpr std::chrono::seconds kHealEvery{1};
constexpr int64_t kRoomToHeal = int64_t{1} << 20;       // more than there was on the full disk
constexpr std::chrono::seconds kHealFullDiskEvery{30};  // it may lack something else, an inode

}  // namespace

// Whether a failed commit is on disk is unknown: its bytes may be in the log without a sync, and
// then a crash would bring it back. Building on such ground could store a second message for a
// job. So nothing is written until the database was opened again, which decides what the log holds.
void StoreFailure::fail(const Status& why) {
  must_reopen_ = true;
  status_ = unavailable("the store cannot write: " + why.to_string());
  delay_healing();
  if (why.code() == StatusCode::exhausted) wait_for_room();
  logged_ = status_.message();
  log_error("store.commit_failed", {{"dir", options_.dir}, {"error", why.to_string()}});
}

void StoreFailure::tear() {
  is_torn_ = true;
  if (status_.ok()) status_ = out_of_memory();
  if (!must_reopen_) next_heal_ = clock_.steady_now();
}

void StoreFailure::cannot_write(const Status& why) {
  status_ = unavailable("the store cannot be opened for writing: " + why.message());
  must_reopen_ = true;
}

// Opening the database again on a disk that is as full as before would only take it from readers.
void StoreFailure::wait_for_room() {
  if (testing_.env != nullptr) return;  // its disk is not one that can be asked
  const auto disk = disk_space(options_.dir);
  room_needed_bytes_ = (disk ? disk->free_bytes : 0) + kRoomToHeal;
  heal_anyway_ = clock_.steady_now() + kHealFullDiskEvery;
}

void StoreFailure::delay_healing() {
  next_heal_ = clock_.steady_now() + kHealEvery;
}

bool StoreFailure::may_heal() {
  const SteadyTime now = clock_.steady_now();
  if (now < next_heal_) return false;
  if (room_needed_bytes_ == 0 || now >= heal_anyway_) return true;
  next_heal_ = now + kHealEvery;
  const auto disk = disk_space(options_.dir);
  return disk && disk->free_bytes >= room_needed_bytes_;
}

void StoreFailure::healing_failed(const Status& why) {
  must_reopen_ = true;
  status_ = unavailable("the store cannot be opened again: " + why.to_string());
  if (status_.message() != std::exchange(logged_, status_.message())) {
    log_error("store.heal_failed", {{"dir", options_.dir}, {"error", why.to_string()}});
  }
}

void StoreFailure::healed() {
  status_ = {};
  must_reopen_ = false;
  is_torn_ = false;
  logged_.clear();
  room_needed_bytes_ = 0;
}

HealthNotice StoreFailure::notice(bool can_read) const {
  std::string text = status_.message();
  if (is_torn_ && !must_reopen_) {
    text += " in the middle of a change: the store reads its state from the disk again";
  }
  text += "; nothing is accepted, claimed or stored, ";
  text += !can_read ? "and nothing can be read" : "what is stored can be read";
  text += room_needed_bytes_ == 0
              ? ". It is tried again every second"
              : ". It goes on by itself when there is room on the disk of " + options_.dir;
  return {"store_cannot_write", std::move(text), true};
}

}  // namespace parkd::embedded
