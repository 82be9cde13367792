// Oracle: what submitters were told, held against what the database says.
//
// A submitter writes its journal before and after it speaks to the database, with one write(2) a
// line, so that a submitter killed anywhere has still said what it knew:
//   try ID       about to be sent; without a later line the answer was lost: at most one job
//   ack ID       accepted: from now on exactly one message or one live row
//   never ID     rolled back, or refused as this fault may: no job
//   refused ID WHY  refused although nothing was wrong with it: a finding
// The oracle reads journals first and takes its one snapshot of the database after that, so it may
// be asked under load. It trusts nothing that a daemon says. Tests alone, one thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <pqxx/connection>
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
    size_t live = 0;
    size_t lost = 0;     // acknowledged and neither message nor live row
    size_t doubled = 0;  // more than one of them, acknowledged or not
  };

  explicit Oracle(std::filesystem::path journals) : journals_(std::move(journals)) {}

  // Reads the journals, then one snapshot. Findings are sentences; none is what a test wants.
  Tally look(pqxx::connection& session, std::vector<std::string>& findings);

 private:
  enum class Told { nothing, accepted, never };
  void read(std::vector<std::string>& findings);

  const std::filesystem::path journals_;
  std::map<std::string, Told> told_;
};

}  // namespace parkd
