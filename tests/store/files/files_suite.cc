#include "tests/store/files/files_suite.h"

#include <algorithm>
#include <chrono>
#include <iostream>
#include <random>
#include <thread>

#include "lib/base/text.h"
#include "lib/job/bounds.h"
#include "lib/store/file_rules.h"

namespace parkd {

using std::chrono::hours;
using std::chrono::seconds;

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FilesSuite);

std::string file_bytes(size_t n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes;
  bytes.reserve(n + 8);
  while (bytes.size() < n) {
    const uint64_t value = random();
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  bytes.resize(n);
  return bytes;
}

void FilesSuite::SetUp() {
  home_ = GetParam().make_home();
  open();
}

void FilesSuite::TearDown() {
  driver_.reset();
  store_.reset();
  home_.reset();
}

void FilesSuite::open() {
  driver_.reset();
  store_.reset();
  store_ = home_->open(limits_, clock_);
  ASSERT_NE(store_, nullptr);
  driver_ = std::make_unique<FileDriver>(*store_);
}

void FilesSuite::purge() {
  while (driver_->purge().value() > 0) {
  }
  // What an abandoned upload had written may go a moment later.
  const int64_t n_files = driver_->figures()->files;
  while (n_files == 0 && home_->n_kept() > 0) std::this_thread::yield();
}

namespace {

constexpr auto kPiece = static_cast<int64_t>(kFilePieceBytes);

FileSpec named(const std::string& filename) {
  return {.filename = filename};
}

std::vector<std::string> ids_of(const std::vector<StoredFile>& files) {
  std::vector<std::string> ids;
  for (const StoredFile& file : files) ids.push_back(file.id);
  return ids;
}

TEST_P(FilesSuite, a_file_is_what_was_uploaded_also_after_a_restart) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  for (const size_t n_bytes : {size_t{0}, size_t{1}, kFilePieceBytes - 1, kFilePieceBytes,
                               kFilePieceBytes + 1, 3 * kFilePieceBytes}) {
    const std::string bytes = file_bytes(n_bytes, seed);
    const auto file = driver_->upload("t", bytes, named("in put.jsonl"));
    ASSERT_TRUE(file.ok()) << file.status().to_string();
    EXPECT_TRUE(is_file_id(file->id)) << file->id;
    EXPECT_EQ(file->tenant, "t");
    EXPECT_EQ(file->filename, "in put.jsonl");
    EXPECT_EQ(file->purpose, "batch");
    EXPECT_EQ(file->bytes, static_cast<int64_t>(n_bytes));
    EXPECT_EQ(file->created_at, clock_.now());
    EXPECT_EQ(file->expires_at, clock_.now() + kFileLifeDefault);
    open();
    const auto again = driver_->get(file->id, "t");
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    EXPECT_EQ(*again, *file);
    const auto read = driver_->read(file->id, "t");
    ASSERT_TRUE(read.ok()) << read.status().to_string();
    EXPECT_EQ(*read, bytes);
    EXPECT_EQ(driver_->piece(file->id, 1'000'000).value(), "");
  }
  EXPECT_EQ(driver_->figures()->files, 6);
  EXPECT_EQ(driver_->figures()->uploads, 0);
}

TEST_P(FilesSuite, another_tenants_file_is_none) {
  const auto file = driver_->upload("t", "x");
  ASSERT_TRUE(file.ok());
  for (const std::string& id : {file->id, std::string("file-0"), new_file_id(), std::string()}) {
    const std::string tenant = id == file->id ? "u" : "t";
    EXPECT_EQ(driver_->get(id, tenant).status().code(), StatusCode::not_found) << id;
    EXPECT_EQ(driver_->piece(id, 0, tenant).status().code(), StatusCode::not_found) << id;
    EXPECT_EQ(driver_->remove(id, tenant).status().code(), StatusCode::not_found) << id;
  }
  EXPECT_EQ(driver_->list({.tenant = "u"}).value().size(), 0u);
  EXPECT_EQ(driver_->list({.tenant = "u", .after = file->id}).status().param(), "after");
  EXPECT_TRUE(driver_->get(file->id, "t").ok());
  EXPECT_TRUE(driver_->get(file->id).ok()) << "who asks for no tenant sees any";
}

TEST_P(FilesSuite, an_upload_is_nothing_before_its_end) {
  const auto id = driver_->begin("t");
  ASSERT_TRUE(id.ok());
  ASSERT_EQ(driver_->append(*id, std::string(kFilePieceBytes, 'x')).value(), kPiece);
  EXPECT_EQ(driver_->get(*id, "t").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->piece(*id, 0, "t").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->list().value().size(), 0u);
  EXPECT_EQ(driver_->figures()->uploads, 1);
  EXPECT_EQ(driver_->append(*id, "y").value(), kPiece + 1);
  EXPECT_TRUE(driver_->finish(*id, named("a.jsonl")).ok());
  EXPECT_EQ(driver_->append(*id, "z").status().code(), StatusCode::not_found);
}

TEST_P(FilesSuite, an_upload_that_is_abandoned_leaves_nothing) {
  const auto id = driver_->begin("t");
  ASSERT_TRUE(driver_->append(*id, std::string(kFilePieceBytes, 'x')).ok());
  store_->abandon_upload(*id);
  store_->abandon_upload(new_file_id());
  EXPECT_EQ(driver_->append(*id, "y").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->finish(*id, named("a.jsonl")).status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->figures()->uploads, 0);
  purge();
  EXPECT_EQ(home_->n_kept(), 0);
}

TEST_P(FilesSuite, an_upload_that_takes_too_long_is_given_up) {
  const auto id = driver_->begin("t");
  ASSERT_TRUE(driver_->append(*id, std::string(kFilePieceBytes, 'x')).ok());
  clock_.advance(kUploadLifeMax - seconds(1));
  ASSERT_TRUE(driver_->purge().ok());
  EXPECT_TRUE(driver_->append(*id, std::string(kFilePieceBytes, 'y')).ok());
  clock_.advance(seconds(2));
  purge();
  const auto late = driver_->append(*id, "z");
  EXPECT_EQ(late.status().code(), StatusCode::not_found);
  EXPECT_NE(late.status().message().find("1 h"), std::string::npos) << late.status().to_string();
  EXPECT_EQ(home_->n_kept(), 0);
}

TEST_P(FilesSuite, what_a_file_is_called_and_how_long_it_lives_is_checked) {
  const struct {
    FileSpec spec;
    std::string param;
  } bad[] = {
      {named(""), "file"},
      {named("in.json"), "file"},
      {named(std::string("a\0.jsonl", 8)), "file"},
      {named("\xff.jsonl"), "file"},
      {named(std::string(kTextBytesMax, 'a') + ".jsonl"), "file"},
      {{.filename = "a.jsonl", .purpose = "fine-tune"}, "purpose"},
      {{.filename = "a.jsonl", .purpose = ""}, "purpose"},
      {{.filename = "a.jsonl", .life = kFileLifeMin - seconds(1)}, "expires_after"},
      {{.filename = "a.jsonl", .life = kFileLifeMax + seconds(1)}, "expires_after"},
  };
  for (const auto& [spec, param] : bad) {
    const auto refused = driver_->upload("t", "x", spec);
    EXPECT_EQ(refused.status().code(), StatusCode::invalid) << spec.filename;
    EXPECT_EQ(refused.status().param(), param) << refused.status().to_string();
  }
  EXPECT_EQ(driver_->figures()->uploads, 0);
  EXPECT_TRUE(driver_->upload("t", "x", {.filename = "a.jsonl", .life = kFileLifeMin}).ok());
  EXPECT_TRUE(driver_->upload("t", "x", {.filename = "a.jsonl", .life = kFileLifeMax}).ok());
}

TEST_P(FilesSuite, a_file_ends_at_its_instant) {
  const auto file = driver_->upload("t", "x", {.filename = "a.jsonl", .life = hours(2)});
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->expires_at, clock_.now() + hours(2));
  clock_.advance(hours(2) - Micros(1));
  EXPECT_EQ(driver_->read(file->id, "t").value(), "x");
  EXPECT_EQ(driver_->list().value().size(), 1u);
  clock_.advance(Micros(1));
  EXPECT_EQ(driver_->get(file->id, "t").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->piece(file->id, 0, "t").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->remove(file->id, "t").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->list().value().size(), 0u);
  purge();
  EXPECT_EQ(home_->n_kept(), 0);
}

TEST_P(FilesSuite, a_file_that_is_kept_ends_later_also_after_a_restart) {
  const auto file = driver_->upload("t", "x", {.filename = "a.jsonl", .life = hours(2)});
  const auto other = driver_->upload("t", "y", {.filename = "b.jsonl", .life = hours(2)});
  ASSERT_TRUE(file.ok() && other.ok());
  const WallTime end = clock_.now() + hours(5);
  for (const WallTime until : {end, end - hours(1), end}) {  // never to an earlier time
    const auto kept = driver_->keep(file->id, "t", until);
    ASSERT_TRUE(kept.ok()) << kept.status().to_string();
    EXPECT_EQ(kept->expires_at, end);
    EXPECT_EQ(kept->filename, "a.jsonl");
  }
  EXPECT_EQ(driver_->keep(file->id, "u", end).status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->keep(new_file_id(), "t", end).status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->keep(other->id, "t", clock_.now() + hours(1))->expires_at, other->expires_at);
  open();
  clock_.advance(hours(5) - Micros(1));
  purge();
  EXPECT_EQ(driver_->read(file->id, "t").value(), "x");
  EXPECT_EQ(driver_->get(file->id, "t")->expires_at, end);
  EXPECT_EQ(driver_->keep(other->id, "t", end + hours(1)).status().code(), StatusCode::not_found)
      << "it was over";
  clock_.advance(Micros(1));
  EXPECT_EQ(driver_->get(file->id, "t").status().code(), StatusCode::not_found);
  purge();
  EXPECT_EQ(home_->n_kept(), 0);
}

TEST_P(FilesSuite, a_file_that_is_kept_can_be_removed) {
  const auto file = driver_->upload("t", "x", {.filename = "a.jsonl", .life = hours(2)});
  ASSERT_TRUE(driver_->keep(file->id, "t", clock_.now() + hours(5)).ok());
  ASSERT_TRUE(driver_->remove(file->id, "t").ok());
  open();
  EXPECT_EQ(driver_->get(file->id, "t").status().code(), StatusCode::not_found);
  purge();
  EXPECT_EQ(home_->n_kept(), 0);
}

TEST_P(FilesSuite, a_file_that_is_removed_is_gone_for_good) {
  const auto file = driver_->upload("t", file_bytes(2 * kFilePieceBytes, 1));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(driver_->remove(file->id, "t").value(), *file);
  EXPECT_EQ(driver_->remove(file->id, "t").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->piece(file->id, 1, "t").status().code(), StatusCode::not_found);
  open();
  EXPECT_EQ(driver_->get(file->id, "t").status().code(), StatusCode::not_found);
  purge();
  EXPECT_EQ(home_->n_kept(), 0);
}

TEST_P(FilesSuite, lists_go_both_ways_and_on_behind_any_file) {
  std::vector<std::string> of_t;
  for (int i = 0; i < 7; ++i) {
    const auto file = driver_->upload(i == 3 ? "u" : "t", "x");
    ASSERT_TRUE(file.ok());
    if (i != 3) of_t.push_back(file->id);
    if (i % 2 == 1) clock_.advance(seconds(1));  // two of one instant
  }
  const auto oldest_first = driver_->list({.tenant = "t", .oldest_first = true});
  ASSERT_TRUE(oldest_first.ok());
  auto sorted = ids_of(*oldest_first);
  std::vector<std::string> reversed(sorted.rbegin(), sorted.rend());
  EXPECT_EQ(ids_of(driver_->list({.tenant = "t"}).value()), reversed);
  std::sort(sorted.begin(), sorted.end());
  std::sort(of_t.begin(), of_t.end());
  EXPECT_EQ(sorted, of_t);
  EXPECT_TRUE(std::is_sorted(oldest_first->begin(), oldest_first->end(),
                             [](const StoredFile& a, const StoredFile& b) {
                               return std::pair(a.created_at, a.id) < std::pair(b.created_at, b.id);
                             }));
  for (const bool forward : {true, false}) {
    std::vector<std::string> paged;
    for (std::string after;;) {
      const auto page = driver_->list(
          {.tenant = "t", .purpose = "batch", .after = after, .oldest_first = forward, .limit = 2});
      ASSERT_TRUE(page.ok()) << page.status().to_string();
      if (page->empty()) break;
      for (const std::string& id : ids_of(*page)) paged.push_back(id);
      after = paged.back();
    }
    EXPECT_EQ(paged, forward ? ids_of(*oldest_first) : reversed);
  }
  EXPECT_EQ(driver_->list({.tenant = "t", .purpose = "vision"}).value().size(), 0u);
  EXPECT_EQ(driver_->list().value().size(), 7u) << "without a tenant: all";
  EXPECT_EQ(driver_->list({.after = new_file_id()}).status().param(), "after");
}

TEST_P(FilesSuite, one_file_may_not_be_too_large) {
  limits_.file_bytes_max = kPiece + 10;
  open();
  EXPECT_TRUE(driver_->upload("t", std::string(kFilePieceBytes + 10, 'x')).ok());
  const auto refused = driver_->upload("t", std::string(kFilePieceBytes + 11, 'x'));
  EXPECT_EQ(refused.status().error_code(), kFileTooLarge);
  EXPECT_EQ(refused.status().param(), "file");
  EXPECT_NE(refused.status().message().find("1048586"), std::string::npos)
      << refused.status().to_string();
  purge();
  EXPECT_EQ(driver_->figures()->files, 1);
  EXPECT_EQ(driver_->figures()->uploads, 0);
}

// Else a file would be there that lacks a piece.
TEST_P(FilesSuite, an_upload_with_a_refused_piece_becomes_no_file) {
  limits_.file_bytes_max = kPiece + 10;
  open();
  const auto id = driver_->begin("t");
  ASSERT_TRUE(driver_->append(*id, std::string(kFilePieceBytes, 'x')).ok());
  ASSERT_FALSE(driver_->append(*id, std::string(11, 'x')).ok());
  EXPECT_EQ(driver_->append(*id, "x").status().code(), StatusCode::not_found);
  EXPECT_EQ(driver_->finish(*id, named("a.jsonl")).status().code(), StatusCode::not_found);
  store_->abandon_upload(*id);
  purge();
  EXPECT_EQ(home_->n_kept(), 0);
}

TEST_P(FilesSuite, a_tenants_files_may_not_be_too_many_or_too_large_together) {
  limits_.tenant_bytes_max = 2 * kPiece;
  limits_.tenant_files_max = 3;
  limits_.tenant_uploads_max = 2;
  open();
  const auto one = driver_->upload("t", std::string(kFilePieceBytes, 'x'));
  ASSERT_TRUE(one.ok());
  const auto too_large = driver_->upload("t", std::string(kFilePieceBytes + 1, 'x'));
  EXPECT_EQ(too_large.status().code(), StatusCode::exhausted);
  EXPECT_NE(too_large.status().message().find(std::to_string(2 * kPiece)), std::string::npos)
      << too_large.status().to_string();
  EXPECT_TRUE(driver_->upload("u", std::string(kFilePieceBytes + 1, 'x')).ok());

  const auto first = driver_->begin("t");
  const auto second = driver_->begin("t");
  ASSERT_TRUE(first.ok() && second.ok());
  const auto third = driver_->begin("t");
  EXPECT_EQ(third.status().code(), StatusCode::exhausted);
  EXPECT_NE(third.status().message().find("2 uploads"), std::string::npos)
      << third.status().to_string();
  store_->abandon_upload(*first);
  store_->abandon_upload(*second);
  purge();

  ASSERT_TRUE(driver_->upload("t", "x").ok());
  ASSERT_TRUE(driver_->upload("t", "x").ok());
  const auto too_many = driver_->upload("t", "x");
  EXPECT_EQ(too_many.status().code(), StatusCode::exhausted);
  EXPECT_NE(too_many.status().message().find("3 files"), std::string::npos)
      << too_many.status().to_string();
  open();
  EXPECT_EQ(driver_->begin("t").status().code(), StatusCode::exhausted) << "after a restart, too";
  ASSERT_TRUE(driver_->remove(one->id, "t").ok());
  EXPECT_TRUE(driver_->upload("t", "x").ok());
}

TEST_P(FilesSuite, damage_is_told_and_never_read_as_other_bytes) {
  const auto flipped = driver_->upload("t", file_bytes(3 * kFilePieceBytes - 5, 2));
  const auto lost = driver_->upload("t", file_bytes(2 * kFilePieceBytes, 3));
  const auto whole = driver_->upload("t", file_bytes(kFilePieceBytes, 4));
  ASSERT_TRUE(flipped.ok() && lost.ok() && whole.ok());
  EXPECT_TRUE(driver_->figures()->notices.empty());
  home_->flip_bit(flipped->id, 1);
  home_->lose_piece(lost->id, 1);
  EXPECT_EQ(driver_->piece(flipped->id, 0).value(),
            file_bytes(3 * kFilePieceBytes - 5, 2).substr(0, kFilePieceBytes));
  for (const StoredFile& file : {*flipped, *lost}) {
    const auto read = driver_->piece(file.id, 1);
    EXPECT_EQ(read.status().code(), StatusCode::corrupt);
    EXPECT_NE(read.status().message().find(file.id), std::string::npos);
    EXPECT_NE(read.status().message().find("upload it again"), std::string::npos);
  }
  const auto notices = driver_->figures()->notices;
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_EQ(notices[0].code, "file_damaged");
  EXPECT_EQ(notices[0].text.substr(0, 1), "2") << notices[0].text;
  EXPECT_FALSE(notices[0].not_ready);
  EXPECT_EQ(driver_->read(whole->id).value(), file_bytes(kFilePieceBytes, 4));
  EXPECT_TRUE(driver_->remove(flipped->id).ok());
  EXPECT_TRUE(driver_->remove(lost->id).ok());
  EXPECT_TRUE(driver_->figures()->notices.empty()) << "it is gone with the files";
}

TEST_P(FilesSuite, who_comes_after_the_stop_is_told_so) {
  const auto id = driver_->begin("t");
  ASSERT_TRUE(id.ok());
  store_->stop();
  EXPECT_EQ(driver_->begin("t").status().code(), StatusCode::unavailable);
  EXPECT_EQ(driver_->append(*id, "x").status().code(), StatusCode::unavailable);
  EXPECT_EQ(driver_->list().status().code(), StatusCode::unavailable);
  store_->stop();
}

}  // namespace
}  // namespace parkd
