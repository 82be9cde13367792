// SalvageFacts: what the readable rows of a damaged store prove, before any is written again: which
// version of a row is the newest, which jobs have ended, what a batch's members are.
//
// A job has ended when anything says so: a history row, a message, a tombstone of its record or its
// body. They lie in files of their own, so one damage seldom takes them all; and a job that ended
// must not run again, for its message may have been read. One thread. Costs some 100 bytes of
// memory a row, and the records of live jobs; no bodies and no messages.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/store/rocksdb/raw_rows.h"
#include "lib/store/rocksdb/record_codec.h"

namespace parkd {

// What a row of a salvaged store is, whatever family the old one kept it in.
enum class SalvagedKind {
  none,
  meta,
  job,
  body,
  history,
  idempotency,
  outbox,
  batch,
  message,
  request
};
// By the family, or where no name is left by the row itself; none: of no use (due rows), or
// unknown.
SalvagedKind kind_of(const wal::RawRow& row);

class SalvageFacts {
 public:
  struct Tally {  // of a batch's members that left messages
    std::array<int64_t, 5> by_outcome{};
  };
  struct Live {
    record::StoredJob stored;
    uint64_t sequence = 0;  // RocksDB's, of the record
    std::string bytes;
  };

  // Every row, then settle() once.
  void note(const wal::RawRow& row);
  void settle();

  // Whether this is the newest version of its row and no tombstone; true once for each row.
  bool take_newest(const wal::RawRow& row);
  bool has(SalvagedKind kind, std::string_view key) const;            // its newest version is a put
  bool has_tombstone(SalvagedKind kind, std::string_view key) const;  // ... is a tombstone
  bool has_ended(JobId id) const { return ended_.contains(id); }
  bool is_live(JobId id) const { return jobs_.contains(id); }

  // After settle(): those that have not ended, and whose record can be read.
  const std::map<JobId, Live>& live() const { return jobs_; }
  const std::map<std::string, record::StoredBatch>& batches() const { return batches_; }
  const std::map<std::string, Tally>& tallies() const { return tallies_; }
  const std::map<std::string, std::string>& meta() const { return meta_; }
  std::optional<uint64_t> first_undelivered() const { return first_undelivered_; }
  // Bodies of jobs that have not ended and whose record is gone.
  std::vector<JobId> bodies_without_job() const;
  // Ended, and there is no history row of it, nor a tombstone of one.
  std::vector<JobId> ended_without_history() const;

  // The largest that anything names.
  JobId last_id() const { return last_id_; }
  uint64_t last_sequence() const { return last_sequence_; }
  uint64_t last_epoch() const { return last_epoch_; }
  // Of which nothing is left, between those that something names: [first, last] each.
  using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;
  Ranges ids_without_trace() const { return gaps_of(ids_, last_id_); }
  Ranges sequences_without_trace() const { return gaps_of(sequences_, last_sequence_); }
  int64_t n_undecodable() const { return n_undecodable_; }

 private:
  struct Newest {
    uint64_t sequence = 0;
    bool is_put = false;
    bool is_taken = false;    // by take_newest()
    bool is_counted = false;  // a message, in its batch's tally
  };
  template <class T>
  struct Versioned {
    uint64_t sequence = 0;
    bool is_put = false;
    T value;
  };
  static Ranges gaps_of(const std::vector<uint64_t>& sorted, uint64_t last);
  void note_kept(SalvagedKind kind, const wal::RawRow& row);  // what is kept whole
  void note_end(SalvagedKind kind, const wal::RawRow& row);
  void note_message(const Message& message);
  void see_id(uint64_t id);
  void see_sequence(uint64_t sequence);
  const Newest* find(SalvagedKind kind, std::string_view key) const;

  std::map<SalvagedKind, std::unordered_map<std::string, Newest>> newest_;
  std::unordered_set<JobId> ended_;
  std::map<JobId, Live> jobs_;
  std::map<std::string, Versioned<record::StoredBatch>> batch_versions_;
  std::map<std::string, record::StoredBatch> batches_;
  std::map<std::string, Versioned<std::string>> meta_versions_;
  std::map<std::string, std::string> meta_;
  std::map<std::string, Tally> tallies_;
  std::optional<uint64_t> first_undelivered_;
  std::vector<uint64_t> ids_, sequences_;  // sorted and distinct after settle()
  JobId last_id_ = 0;
  uint64_t last_sequence_ = 0, last_epoch_ = 0;
  int64_t n_undecodable_ = 0;
};

}  // namespace parkd
