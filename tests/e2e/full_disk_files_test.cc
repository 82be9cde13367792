// Files on a disk that is full: an upload is refused for what it is and leaves nothing behind, and
// a batch whose lines found no room goes on when there is some.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/e2e/file_batch.h"
#include "tests/e2e/full_disk.h"
#include "tests/support/file_form.h"
#include "tests/support/needs_root.h"
#include "tests/support/raw_peer.h"

namespace parkd::testing {
namespace {

constexpr size_t kMb = 1 << 20;

class FullDiskFiles : public FullDisk {
 protected:
  // With one upload at a time: an upload that stays counted is seen by the next.
  void start_with_files(int64_t disk_mb, const std::string& min_free_disk_mb) {
    DaemonSetup setup;
    setup.more_daemon = "  files: {max_uploads: 1}\n";
    start(disk_mb, min_free_disk_mb, setup);
  }
  // Whatever is left of the disk is `bytes`.
  void leave(int64_t bytes) {
    disk_->make_room();
    disk_->fill(bytes);
  }
  RawAnswer upload(const std::string& bytes) {
    RawPeer peer(daemon_->socket());
    // Not all of it can be sent where it is refused before its end.
    (void)peer.send(file_upload_head("in.jsonl", bytes.size()) + bytes + kFileFormTail);
    return peer.read();
  }
  void expect_is_stored(const RawAnswer& answer, const std::string& bytes) {
    ASSERT_EQ(answer.status, 200) << answer.body;
    const std::string id = text_at(json::parse(answer.body), "id");
    RawPeer peer(daemon_->socket());
    EXPECT_TRUE(peer.call("GET", "/v1/files/" + id + "/content").body == bytes);
    EXPECT_EQ(peer.call("DELETE", "/v1/files/" + id).status, 200);
  }
  // Neither on the disk nor in anybody's account.
  void expect_nothing_is_left() {
    const std::filesystem::path files = daemon_->directory() + "/state/files";
    EXPECT_TRUE(daemon_->wait_until([&] {  // bytes go a moment later
      return std::filesystem::is_empty(files / "uploads");
    }));
    for (const auto& entry : std::filesystem::directory_iterator(files)) {
      EXPECT_NE(entry.path().filename().string().substr(0, 5), "file-") << entry.path();
    }
    EXPECT_EQ(find(get("/v1/files").json, "data")->get_array().size(), 0u);
  }
};

TEST_F(FullDiskFiles, an_upload_that_finds_no_room_is_refused_and_leaves_nothing) {
  PARKD_NEEDS_ROOT();
  start_with_files(64, "0");  // nothing is refused before the disk does
  const std::string bytes(3 * kMb, 'x');
  expect_is_stored(upload(bytes), bytes);
  int n_refused = 0;
  int n_met_the_end = 0;  // what was looked at before did not say it
  // At the first byte, in pieces, at the record behind them, and where there is room for all.
  const std::vector<size_t> left{0,       4096,         kMb / 2,         2 * kMb,
                                 3 * kMb, 3 * kMb + 64, 3 * kMb + 32768, 12 * kMb};
  for (const size_t n_left : left) {
    SCOPED_TRACE(std::to_string(n_left) + " bytes are left");
    leave(static_cast<int64_t>(n_left));
    const RawAnswer answer = upload(bytes);
    if (answer.status == 200) {
      expect_is_stored(answer, bytes);
    } else {
      ++n_refused;
      EXPECT_EQ(answer.status, 429) << answer.body;
      EXPECT_NE(answer.head.find("Retry-After: "), std::string::npos) << answer.head;
      n_met_the_end += answer.body.find("No space left on device") != answer.body.npos;
      EXPECT_TRUE(answer.body.find("No space left on device") != answer.body.npos ||
                  answer.body.find(" bytes free, the next piece of the file takes ") !=
                      answer.body.npos)
          << answer.body;
    }
    expect_nothing_is_left();
  }
  EXPECT_GE(n_refused, 5);
  EXPECT_GE(n_met_the_end, 1);
  EXPECT_LT(n_refused, static_cast<int>(left.size()));
  EXPECT_NE(daemon_->log().find("files.not_written"), std::string::npos) << daemon_->log();
  disk_->make_room();
  expect_is_stored(upload(bytes), bytes);
  EXPECT_EQ(ready(), 200);
  EXPECT_EQ(submit_one().status, 202);
  expect_all_once();
}

TEST_F(FullDiskFiles, an_upload_stops_where_the_disk_would_run_low) {
  PARKD_NEEDS_ROOT();
  start_with_files(64, "null");  // 8 MiB stay free
  const std::string bytes(4 * kMb, 'x');
  const auto expect_refused = [&] {
    const RawAnswer refused = upload(bytes);
    EXPECT_EQ(refused.status, 429) << refused.body;
    EXPECT_NE(refused.body.find("8 MiB must stay free (daemon.min_free_disk_mb): make room"),
              std::string::npos)
        << refused.body;
    expect_nothing_is_left();
  };
  leave(10 * kMb);
  expect_refused();  // in its middle
  EXPECT_EQ(ready(), 200) << "it was given back";
  const std::string small(kMb / 2, 'x');
  expect_is_stored(upload(small), small);
  leave(5 * kMb);
  expect_refused();
  ASSERT_TRUE(daemon_->wait_until([&] { return ready() == 503; })) << daemon_->log();
  EXPECT_TRUE(has_notice("disk_low"));
  EXPECT_NE(daemon_->log().find("health.notice code=disk_low"), std::string::npos);
  disk_->make_room();
  ASSERT_TRUE(daemon_->wait_until([&] { return ready() == 200; })) << daemon_->log();
  EXPECT_FALSE(has_notice("disk_low"));
  expect_is_stored(upload(bytes), bytes);
}

TEST_F(FullDiskFiles, a_batch_whose_lines_find_no_room_goes_on_when_there_is_some) {
  PARKD_NEEDS_ROOT();
  DaemonSetup setup;
  setup.max_num_seqs = 1;
  start(64, "0", setup);
  BatchClient client(*daemon_);
  std::string lines = batch_requests();
  const std::string field = "\"max_tokens\":1,";
  std::mt19937 random(7);  // what RocksDB cannot compress
  for (size_t at = 0; (at = lines.find(field, at)) != lines.npos; at += field.size()) {
    std::string name(6000, ' ');
    for (char& letter : name) letter = static_cast<char>('a' + random() % 26);
    lines.insert(at, "\"user\":\"" + name + "\",");
    at += name.size();
  }
  const std::string file = client.upload(lines);
  leave(2 * kMb);  // for the batch, and not for all of its lines
  const json::object opened = client.open(file);
  ASSERT_FALSE(opened.empty());
  const std::string id(opened.at("id").as_string());
  ASSERT_TRUE(daemon_->wait_until([&] { return ready() == 503; })) << daemon_->log();
  EXPECT_TRUE(has_notice("store_cannot_write"));
  disk_->fill();
  const HttpAnswer held = get("/v1/batches/" + id);
  EXPECT_EQ(held.status, 200) << held.text;
  EXPECT_NE(text_at(held.json, "status"), "failed") << held.text;
  disk_->make_room();
  const json::object batch = client.completed(id);
  ASSERT_FALSE(batch.empty()) << daemon_->log();
  client.expect_each_line_once(batch);
}

}  // namespace
}  // namespace parkd::testing
