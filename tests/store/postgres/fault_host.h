// FaultHost: what the submitting processes of the fault tests share: a name, a journal for the
// oracle (fault_oracle.h), and what the server's refusals say about what was stored.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/store/job_store.h"
#include "tests/store/postgres/fault_oracle.h"

namespace parkd {

struct FaultHost {
  std::string dsn;
  Journal journal;
  std::string name;
  int64_t n_ids = 0;

  // A new custom_id, announced in the journal; `kind` is its last letter (fault_oracle.h), or "".
  std::string next_id(const std::string& kind = "");
  // A line of `word` for each.
  void say(const std::string& word, const std::vector<std::string>& ids) const;
};

// Whether the server itself said that nothing was stored. An answer of class 57 (shutdown) can come
// after the commit.
bool certainly_not_stored(const std::string& sqlstate);

// True once this process was sent SIGTERM; from the first call on.
bool told_to_stop();

// A store that gives a verb up after a second. Waits for the database; null when told to stop
// first.
std::unique_ptr<JobStore> open_impatient_store(const std::string& dsn);

}  // namespace parkd
