#include "tests/store/postgres/fault_oracle.h"

#include <fcntl.h>
#include <unistd.h>

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

void Oracle::read(std::vector<std::string>& findings) {
  told_.clear();
  for (const auto& entry : std::filesystem::directory_iterator(journals_)) {
    if (entry.path().extension() != ".submitted") continue;
    for (const std::string& line : read_journal(entry.path())) {
      std::istringstream fields(line);
      std::string word;
      std::string id;
      fields >> word >> id;
      if (word == "try") {
        told_.emplace(id, Told::nothing);
      } else if (word == "ack") {
        told_[id] = Told::accepted;
      } else if (word == "never") {
        told_[id] = Told::never;
      } else {
        findings.push_back(line);
      }
    }
  }
}

Oracle::Tally Oracle::look(pqxx::connection& session, std::vector<std::string>& findings) {
  read(findings);
  struct Found {
    size_t messages = 0;
    size_t live = 0;
  };
  std::map<std::string, Found> found;
  Tally tally;
  {
    pqxx::nontransaction tx(session);
    for (const auto& row : tx.exec("SELECT custom_id, 'm' FROM parkd.mailbox UNION ALL "
                                   "SELECT custom_id, 'l' FROM parkd.jobs")) {
      Found& job = found[row[0].c_str()];
      ++(*row[1].c_str() == 'm' ? job.messages : job.live);
    }
  }
  for (const auto& [id, job] : found) {
    tally.messages += job.messages;
    tally.live += job.live;
    if (job.messages + job.live > 1) {
      ++tally.doubled;
      findings.push_back(id + " has " + std::to_string(job.messages) + " messages and " +
                         std::to_string(job.live) + " live rows");
    }
  }
  for (const auto& [id, told] : told_) {
    if (told == Told::accepted) ++tally.acknowledged;
    if (told == Told::nothing) ++tally.in_doubt;
    const bool there = found.count(id) != 0;
    if (told == Told::accepted && !there) {
      ++tally.lost;
      findings.push_back(id + " was acknowledged and is lost");
    }
    if (told == Told::never && there) findings.push_back(id + " was rolled back and is there");
  }
  // What was tried while the snapshot was taken is in the journals by now.
  std::vector<std::string> of_the_next_look;
  read(of_the_next_look);
  for (const auto& [id, job] : found) {
    if (told_.count(id) == 0) findings.push_back(id + " is there and nobody submitted it");
  }
  return tally;
}

}  // namespace parkd
