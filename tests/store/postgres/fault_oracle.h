// Oracle: what submitters were told, held against what the database says.
//
// A submitter writes its journal before and after it speaks to the database, with one write(2) a
// line, so that a submitter killed anywhere has still said what it knew. Of a custom_id:
//   try ID       about to be sent; without a later line the answer was lost: at most one job
//   ack ID       accepted: from now on exactly one message, taken message or live row
//   never ID     rolled back, or refused as this fault may: no job
//   refused ID WHY  refused although nothing was wrong with it: a finding
// Of a job's number, or a batch:
//   cancel JOB, cancel_batch BATCH   about to be asked for: it may end as cancelled
//   cancelled JOB                    answered: it has ended so
//   taking JOB, took JOB             before the commit of a take, and after it
//   requeued OLD NEW                 answered: OLD became NEW, and nothing else
//   sealed BATCH                     answered
// The last letter of a custom_id says what the daemons of these tests make of the job: f fails
// until it is requeued, r fails an attempt first, s is slow; all others complete.
//
// The oracle reads journals first and takes its one snapshot of the database after that, so it may
// be asked under load. It trusts nothing that a daemon says. Tests alone, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <pqxx/connection>
#include <set>
#include <string>
#include <vector>

namespace parkd {

// Appends lines to a file that survive the death of this process.
class Journal {
 public:
  explicit Journal(const std::string& path);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  void write(const std::string& line) const;

 private:
  int fd_;
};

// Whole lines of a journal; what a dead writer left half is not there.
std::vector<std::string> read_journal(const std::filesystem::path& path);

class Oracle {
 public:
  struct Tally {
    size_t acknowledged = 0;
    size_t in_doubt = 0;
    size_t messages = 0;
    size_t taken = 0;
    size_t live = 0;
    size_t failed = 0;     // of those that ended
    size_t cancelled = 0;  // likewise
    size_t requeued = 0;
    size_t lost = 0;     // acknowledged and nowhere
    size_t doubled = 0;  // more than one of them, acknowledged or not
  };

  explicit Oracle(std::filesystem::path journals) : journals_(std::move(journals)) {}

  // Reads the journals, then one snapshot. Findings are sentences; none is what a test wants.
  Tally look(pqxx::connection& session, std::vector<std::string>& findings) const;

 private:
  enum class Answer { nothing, accepted, never };
  // What the journals say.
  struct Told {
    std::map<std::string, Answer> jobs;  // by custom_id
    std::set<int64_t> cancel;
    std::set<int64_t> cancelled;
    std::set<int64_t> taking;
    std::map<int64_t, int> took;
    std::map<int64_t, int64_t> requeued;
    std::set<std::string> cancel_batch;
    std::set<std::string> sealed;
  };
  // A job's rows.
  struct Found {
    std::string custom_id;
    std::string batch;
    std::string outcome;  // of the history
    size_t messages = 0;
    size_t live = 0;
    size_t past = 0;  // rows of the history
    int64_t requeued_from = 0;
    int64_t requeued_as = 0;
    int attempts = 0;  // of the message
  };
  using Jobs = std::map<int64_t, Found>;

  Told read(std::vector<std::string>& findings) const;
  static Jobs snapshot(pqxx::connection& session, std::set<std::string>& open_batches);
  static void check_places(const Jobs& jobs, const Told& before, const Told& after, Tally& tally,
                           std::vector<std::string>& findings);
  static void check_endings(const Jobs& jobs, const Told& before, const Told& after, Tally& tally,
                            std::vector<std::string>& findings);
  static void check_requeued(const Jobs& jobs, const Told& before, Tally& tally,
                             std::vector<std::string>& findings);

  const std::filesystem::path journals_;
};

}  // namespace parkd
