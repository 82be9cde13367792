// Client: what jobctl asks of a parkd, whichever way it goes there: through a daemon
// (DaemonClient), or straight to the database (DatabaseClient).
//
// Answers are JSON of one schema, the daemon's (README.md, lib/openai/wire.h). One thread. Errors
// of every verb: unavailable (nothing, or no whole answer, came: the call may be repeated),
// invalid, denied, not_found, conflict, exhausted; param as the daemon names it ("jobs[3].body").
#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/status.h"

namespace parkd::jobctl {

struct Answer {
  std::string text;
  boost::json::value json;  // the same, parsed
};

struct ListRequest {
  std::string model;     // empty: any
  std::string state;     // empty: any
  std::string batch_id;  // empty: any; as the next two
  std::string mailbox_key;
  std::string custom_id;
  int64_t after = 0;
  int64_t limit = 100;
};

struct MailboxRequest {
  std::string key;
  std::string cursor;  // empty: from the beginning
  int64_t limit = 100;
  int64_t wait_s = 0;  // up to 60
  int64_t job = 0;     // what the caller waits for: a daemon may start it sooner; 0: whatever comes
  bool skip_damaged = false;
};

struct Requeue {
  std::vector<int64_t> ids;              // these; empty: all with one of the codes, or of the batch
  std::vector<std::string> failed_with;  // empty: with any code
  std::string batch_id;                  // empty: any
  std::string model;                     // only this model's; empty: any
};

// A server-sent event of a job's answer (lib/openai/stream_chunks.h).
struct StreamEvent {
  std::string id;    // to go on behind it; empty: one cannot
  std::string name;  // "restarted", or empty
  std::string data;
};

class Client {
 public:
  virtual ~Client() = default;

  // The JSON of one job, or of {"jobs": [...]}: all or none. Bodies are stored as they stand in it.
  // To be repeated safely, each needs its key.
  virtual Result<Answer> submit(const std::string& request) = 0;
  virtual Result<Answer> job(int64_t id) = 0;
  // A page may have fewer jobs than the limit, or none, and has_more all the same: go on behind
  // next_after.
  virtual Result<Answer> list(const ListRequest& request) = 0;
  virtual Result<Answer> cancel(int64_t id) = 0;
  virtual Result<Answer> requeue(const Requeue& what) = 0;

  // Whether stream() can be asked. Errors: invalid, with the way out.
  virtual Status can_stream() const = 0;
  // A job's answer as it is written, from its beginning or behind an event, to the stream's end.
  // unavailable: it was cut, and goes on behind the last event.
  virtual Status stream(int64_t id, const std::string& last_event_id,
                        const std::function<void(const StreamEvent&)>& on_event) = 0;

  virtual Result<Answer> mailbox(const MailboxRequest& request) = 0;
  // Removes the oldest messages. `keep` gets the answer; straight to the database they are gone
  // only after it returned ok. Never carried out twice.
  virtual Status take(const std::string& key, int64_t limit,
                      const std::function<Status(const Answer&)>& keep) = 0;

  // {"deadline": RFC 3339, "metadata": {...}}, both optional.
  virtual Result<Answer> open_batch(const boost::json::object& request) = 0;
  virtual Result<Answer> batch(const std::string& id) = 0;
  virtual Result<Answer> seal_batch(const std::string& id) = 0;
  virtual Result<Answer> cancel_batch(const std::string& id) = 0;

  virtual Result<Answer> models() = 0;
};

// `text` as an answer. Errors: internal, when it is not JSON.
Result<Answer> make_answer(std::string text);

}  // namespace parkd::jobctl
