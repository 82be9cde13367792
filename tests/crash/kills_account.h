// Account: what the clients of a kill loop were told and shown, and whether that can all be true.
//
// It trusts no daemon: what was acknowledged is held against what every reader saw, what takers
// got, and what is there at the end. Findings are sentences, each of one kind (Fault); none is what
// a test wants. Of a job an answer that was lost leaves a doubt, and the doubt allows exactly one
// thing: a submit that may or may not have been accepted (whole), a message that may or may not be
// taken.
//
// Tests alone; any thread, one mutex. Ids, sequences and cursors are the store's.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace parkd::testing {

enum class Fault { lost, doubled, skipped, leaked, wrong };
constexpr size_t kFaults = 5;
const char* to_string(Fault fault);

struct Box {
  std::string tenant;
  std::string key;
  bool has_takers = false;
  friend bool operator<(const Box& a, const Box& b) {
    return a.tenant != b.tenant ? a.tenant < b.tenant : a.key < b.key;
  }
};

// A job that somebody submits. custom_id is its name here: no two orders share one.
struct Order {
  std::string custom_id;
  Box box;
  int content = 0;  // what is asked: the same content has the same answer, always
  int retention_s = 0;
  bool keyed = false;     // its custom_id is its idempotency key too
  std::string batch;      // empty: none
  std::string deadline;   // RFC 3339; empty: none
  bool may_miss = false;  // it, or its batch, has a deadline that may pass
};

// A message as a door showed it.
struct Shown {
  int64_t id = 0;
  uint64_t sequence = 0;
  std::string tenant;
  std::string mailbox_key;
  std::string custom_id;
  std::string batch;
  std::string outcome;
  std::string text;
  bool truncated = false;
};

struct BatchRow {
  std::string status;
  int64_t total = 0;
  int64_t truncated = 0;
  std::map<std::string, int64_t> ended;  // by outcome
};

// What is there when all is done, read anew.
struct Truth {
  std::vector<Shown> messages;  // of every box
  std::map<int64_t, std::string>
      outcomes;  // of every job asked for; no entry: there is no such job
  std::map<std::string, BatchRow> batches;
};

class Account {
 public:
  using Orders = std::vector<Order>;
  using Ids = std::vector<int64_t>;

  // --- submits. `submitting` before it is sent; then one of the others, or neither: in doubt.
  void submitting(const Orders& orders);
  void accepted(const Orders& orders, const Ids& ids);
  // `why`: the answer's. A refusal of what could have been accepted is a finding, unless a deadline
  // was near.
  void refused(const Orders& orders, const std::string& why);

  // --- the others: before the request, and after the answer
  void cancelling(int64_t id);
  void cancel_said(int64_t id, const std::string& word);
  void cancelling_batch(const std::string& batch);
  void requeued(int64_t id, const std::map<int64_t, int64_t>& became);
  void batch_opened(const std::string& batch);
  void took(const Box& box, const std::vector<Shown>& messages);
  void take_in_doubt(const std::vector<Shown>& messages);

  // --- readers. A page follows `after`, and was asked for at moment `asked`.
  uint64_t moment() const;
  int add_reader(const std::string& name, const Box& box);
  void read(int reader, uint64_t asked, uint64_t after, const std::vector<Shown>& page,
            uint64_t next);
  // Seen by somebody who keeps no cursor.
  void noticed(const std::vector<Shown>& page);
  // GET of a job: its outcome, "" while it is live, nothing where there is no such job.
  void looked_at(int64_t id, uint64_t asked, const std::optional<std::string>& outcome);

  // --- whom to act on next; nothing where there is nobody
  std::optional<int64_t> some_job(std::mt19937_64& random, bool an_open_one) const;
  std::optional<int64_t> newest_job(std::mt19937_64& random) const;  // of no box with takers
  std::optional<int64_t> one_that_did_not_complete(std::mt19937_64& random) const;

  struct Counts {
    int64_t acknowledged = 0;
    int64_t open = 0;      // acknowledged, and nobody has seen the end
    int64_t ended = 0;     // seen by somebody
    int64_t in_doubt = 0;  // submitted, and not answered (yet)
    int64_t taken = 0;
    int64_t takes_in_doubt = 0;
    int64_t cancelled = 0;
    int64_t missed = 0;
    int64_t requeued = 0;
    int64_t batches = 0;
    int64_t pages = 0;
    int64_t texts = 0;  // different ones
  };
  Counts counts() const;
  std::set<std::string> batches() const;
  Ids jobs() const;         // acknowledged, and those that they were requeued as
  int64_t n_ended() const;  // different jobs whose end somebody saw

  void found(Fault fault, const std::string& what);
  // Once, when all readers have read to the end.
  void judge(const Truth& truth);
  std::array<int64_t, kFaults> faults() const;
  std::vector<std::string> findings() const;  // the first of each kind

 private:
  enum class Answer { nothing, accepted, never };
  struct Placed {
    Order order;
    Answer answer = Answer::nothing;
    int64_t id = 0;
    uint64_t submit = 0;  // those of one submit are accepted together
  };
  struct Run {  // a job by its id
    std::string custom_id;
    int64_t requeued_from = 0;
    bool cancel_asked = false;
    bool cancelled = false;  // answered so
  };
  struct End {  // its message, as first shown
    std::string custom_id;
    uint64_t sequence = 0;
    std::string outcome;
    uint64_t moment = 0;
    uint64_t taken_at = 0;
    bool take_in_doubt = false;
  };
  struct Reader {
    std::string name;
    Box box;
    uint64_t cursor = 0;
    std::unordered_map<int64_t, int> seen;
  };

  void find(Fault fault, const std::string& what);  // the mutex is held
  std::string named(int64_t id) const;
  void see(const Shown& message, const std::string& who);
  void check_message(const Shown& message, const std::string& who);
  void judge_ids(const Truth& truth);
  void judge_readers(const Truth& truth);
  void judge_submits();
  void judge_batches(const Truth& truth);
  bool may_be_cancelled(int64_t id, const Order& order) const;

  mutable std::mutex mutex_;
  mutable uint64_t now_ = 0;  // counts calls: an order of what happened
  uint64_t n_submits_ = 0;
  std::map<std::string, Placed> orders_;  // by custom_id
  std::map<int64_t, Run> runs_;
  std::map<int64_t, int64_t> became_;  // requeued
  std::unordered_map<int64_t, End> ends_;
  std::set<int64_t> open_;
  std::set<std::string> batches_;
  std::set<std::string> cancelled_batches_;
  std::vector<int64_t> not_completed_;
  std::map<int, std::string> texts_;  // by content
  std::vector<Reader> readers_;
  Counts counts_;
  std::array<int64_t, kFaults> faults_{};
  std::vector<std::string> findings_;
};

}  // namespace parkd::testing
