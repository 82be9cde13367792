#include "tests/store/postgres/fault_oracle.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <pqxx/nontransaction>
#include <pqxx/result>
#include <sstream>
#include <stdexcept>

namespace parkd {

Journal::Journal(const std::string& path)
    : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
  if (fd_ < 0) throw std::runtime_error("cannot open " + path);
}

Journal::~Journal() {
  ::close(fd_);
}

void Journal::write(const std::string& line) const {
  const std::string whole = line + "\n";
  if (::write(fd_, whole.data(), whole.size()) != static_cast<ssize_t>(whole.size())) {
    throw std::runtime_error("cannot write the journal");
  }
}

std::vector<std::string> read_journal(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  std::vector<std::string> lines;
  std::string line;
  while (std::getline(text, line)) {
    if (!text.eof()) lines.push_back(line);
  }
  return lines;
}

Oracle::Told Oracle::read(std::vector<std::string>& findings) const {
  Told told;
  for (const auto& entry : std::filesystem::directory_iterator(journals_)) {
    if (entry.path().extension() != ".submitted") continue;
    for (const std::string& line : read_journal(entry.path())) {
      std::istringstream fields(line);
      std::string word;
      std::string id;
      fields >> word >> id;
      const int64_t number = std::atoll(id.c_str());
      if (word == "try") {
        told.jobs.emplace(id, Answer::nothing);
      } else if (word == "ack") {
        told.jobs[id] = Answer::accepted;
      } else if (word == "never") {
        told.jobs[id] = Answer::never;
      } else if (word == "cancel") {
        told.cancel.insert(number);
      } else if (word == "cancelled") {
        told.cancelled.insert(number);
      } else if (word == "taking") {
        told.taking.insert(number);
      } else if (word == "took") {
        ++told.took[number];
      } else if (word == "cancel_batch") {
        told.cancel_batch.insert(id);
      } else if (word == "sealed") {
        told.sealed.insert(id);
      } else if (word == "requeued") {
        int64_t became = 0;
        fields >> became;
        const auto [known, fresh] = told.requeued.emplace(number, became);
        if (!fresh && known->second != became) {
          findings.push_back("job " + id + " was requeued as " + std::to_string(known->second) +
                             " and as " + std::to_string(became));
        }
      } else {
        findings.push_back(line);
      }
    }
  }
  return told;
}

Oracle::Jobs Oracle::snapshot(pqxx::connection& session, std::set<std::string>& open_batches) {
  Jobs jobs;
  pqxx::nontransaction tx(session);
  for (const auto& row : tx.exec(
           "SELECT 'm', job_id, custom_id, NULL, attempts, NULL, NULL FROM parkd.mailbox UNION ALL "
           "SELECT 'l', id, custom_id, batch_id, 0, CASE state WHEN 'cancelling' THEN 'cancelled' "
           "END, requeued_from FROM parkd.jobs UNION ALL "
           "SELECT 'p', job_id, custom_id, batch_id, 0, outcome::text, requeued_as FROM "
           "parkd.history UNION ALL SELECT 'b', 0, NULL, id, 0, NULL, NULL FROM parkd.batches "
           "WHERE sealed_at IS NULL")) {
    const char kind = *row[0].c_str();
    if (kind == 'b') {
      open_batches.insert(row[3].c_str());
      continue;
    }
    Found& job = jobs[row[1].as<int64_t>()];
    job.custom_id = row[2].c_str();
    const int64_t link = row[6].is_null() ? 0 : row[6].as<int64_t>();
    if (kind == 'm') {
      ++job.messages;
      job.attempts = row[4].as<int>();
    } else if (kind == 'l') {
      ++job.live;
      job.requeued_from = link;
      job.batch = row[3].c_str();
      if (!row[5].is_null()) job.outcome = row[5].c_str();  // it will be
    } else {
      ++job.past;
      job.requeued_as = link;
      job.batch = row[3].c_str();
      job.outcome = row[5].c_str();
    }
  }
  return jobs;
}

namespace {

std::string named(int64_t id, const std::string& custom_id) {
  return "job " + std::to_string(id) + " (" + custom_id + ")";
}

}  // namespace

// Each job is at one place, and an accepted custom_id is one job, with those it was requeued as.
void Oracle::check_places(const Jobs& jobs, const Told& before, const Told& after, Tally& tally,
                          std::vector<std::string>& findings) {
  struct Sum {
    size_t first = 0;  // jobs that were not requeued from another
    size_t messages = 0;
    size_t live = 0;
    bool doubled = false;
  };
  std::set<int64_t> became;
  for (const auto& [id, job] : jobs) {
    if (job.requeued_as != 0) became.insert(job.requeued_as);
  }
  std::map<std::string, Sum> sums;
  for (const auto& [id, job] : jobs) {
    Sum& sum = sums[job.custom_id];
    sum.first += became.count(id) == 0;
    sum.messages += job.messages;
    sum.live += job.live;
    sum.doubled = sum.doubled || job.messages > 1 || job.live + job.past > 1;
    tally.messages += job.messages;
    tally.live += job.live;
    const bool taken = job.past > 0 && job.messages == 0;
    tally.taken += taken;
    if (taken && after.taking.count(id) == 0) {
      findings.push_back("the message of " + named(id, job.custom_id) +
                         " is gone and nobody took it");
    }
    if (job.messages > 0 && before.took.count(id) != 0) {
      findings.push_back("the message of " + named(id, job.custom_id) + " was taken and is there");
    }
  }
  for (const auto& [id, times] : before.took) {
    if (times > 1) findings.push_back("job " + std::to_string(id) + " was taken twice");
    if (jobs.count(id) == 0) findings.push_back("job " + std::to_string(id) + " never was");
  }
  for (const auto& [id, sum] : sums) {
    if (sum.first > 1 || sum.doubled) {
      ++tally.doubled;
      findings.push_back(id + " has " + std::to_string(sum.messages) + " messages and " +
                         std::to_string(sum.live) + " live rows");
    }
    // What was tried while the snapshot was taken is in the later journals.
    if (after.jobs.count(id) == 0) findings.push_back(id + " is there and nobody submitted it");
  }
  for (const auto& [id, answer] : before.jobs) {
    if (answer == Answer::accepted) ++tally.acknowledged;
    if (answer == Answer::nothing) ++tally.in_doubt;
    const bool there = sums.count(id) != 0;
    if (answer == Answer::accepted && !there) {
      ++tally.lost;
      findings.push_back(id + " was acknowledged and is lost");
    }
    if (answer == Answer::never && there) findings.push_back(id + " was rolled back and is there");
  }
}

// Each ended as its custom_id says, or as cancelled where somebody asked for that: faults are
// nobody's fault.
void Oracle::check_endings(const Jobs& jobs, const Told& before, const Told& after, Tally& tally,
                           std::vector<std::string>& findings) {
  std::set<int64_t> became;
  for (const auto& [id, job] : jobs) became.insert(job.requeued_as);
  for (const auto& [id, job] : jobs) {
    const std::string name = named(id, job.custom_id);
    if (before.cancelled.count(id) != 0 && job.outcome != "cancelled") {
      findings.push_back(name + " was answered to be cancelled and is " +
                         (job.past == 0 ? "live" : job.outcome));
    }
    if (job.past == 0) continue;
    const char kind = job.custom_id.empty() ? ' ' : job.custom_id.back();
    const bool fails = kind == 'f' && became.count(id) == 0;
    const bool cancelled = job.outcome == "cancelled";
    tally.failed += job.outcome == "failed";
    tally.cancelled += cancelled;
    if (cancelled && after.cancel.count(id) == 0 && after.cancel_batch.count(job.batch) == 0) {
      findings.push_back(name + " ended as cancelled and nobody asked for that");
    }
    if (!cancelled && job.outcome != (fails ? "failed" : "completed")) {
      findings.push_back(name + " ended as " + job.outcome);
    }
    if (job.messages == 0) continue;
    const int attempts = kind == 'r' ? 1 : 0;
    if (cancelled ? job.attempts > attempts : job.attempts != attempts) {
      findings.push_back(name + " spent " + std::to_string(job.attempts) + " attempts");
    }
  }
}

// A requeued job became one other, which is there.
void Oracle::check_requeued(const Jobs& jobs, const Told& before, Tally& tally,
                            std::vector<std::string>& findings) {
  std::set<int64_t> became;
  for (const auto& [id, job] : jobs) {
    if (job.requeued_as != 0) {
      ++tally.requeued;
      if (!became.insert(job.requeued_as).second) {
        findings.push_back("two jobs became job " + std::to_string(job.requeued_as));
      }
      const auto next = jobs.find(job.requeued_as);
      if (next == jobs.end()) {
        findings.push_back(named(id, job.custom_id) + " was requeued as " +
                           std::to_string(job.requeued_as) + ", which is lost");
      } else if (next->second.custom_id != job.custom_id) {
        findings.push_back(named(id, job.custom_id) + " became another's job");
      }
    }
    if (job.requeued_from == 0) continue;
    const auto from = jobs.find(job.requeued_from);
    if (from == jobs.end() || from->second.requeued_as != id) {
      findings.push_back(named(id, job.custom_id) + " was requeued from a job that became another");
    }
  }
  for (const auto& [from, to] : before.requeued) {
    const auto found = jobs.find(from);
    if (found == jobs.end() || found->second.requeued_as != to) {
      findings.push_back("job " + std::to_string(from) + " was answered to have become " +
                         std::to_string(to) + " and did not");
    }
  }
}

Oracle::Tally Oracle::look(pqxx::connection& session, std::vector<std::string>& findings) const {
  const Told before = read(findings);
  std::set<std::string> open_batches;
  const Jobs jobs = snapshot(session, open_batches);
  std::vector<std::string> of_the_next_look;
  const Told after = read(of_the_next_look);
  Tally tally;
  check_places(jobs, before, after, tally, findings);
  check_endings(jobs, before, after, tally, findings);
  check_requeued(jobs, before, tally, findings);
  for (const std::string& batch : before.sealed) {
    if (open_batches.count(batch) != 0) {
      findings.push_back("batch " + batch + " was answered to be sealed and is open");
    }
  }
  return tally;
}

}  // namespace parkd
