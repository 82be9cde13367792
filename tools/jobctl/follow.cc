#include "tools/jobctl/follow.h"

#include <unistd.h>

#include <boost/json.hpp>
#include <iostream>
#include <map>
#include <string>
#include <utility>

#include "tools/jobctl/json_fields.h"
#include "tools/jobctl/table.h"

namespace parkd::jobctl {
namespace {

namespace json = boost::json;

class Follower {
 public:
  explicit Follower(bool as_json) : as_json_(as_json) {}

  void take(const StreamEvent& event) {
    if (!event.id.empty()) last_id_ = event.id;
    if (event.data == "[DONE]") {
      is_done_ = true;
      return;
    }
    if (as_json_) {
      std::cout << event.data << std::endl;
    }
    json::error_code not_json;
    const json::value chunk = json::parse(event.data, not_json);
    if (const json::value* error = find(chunk, "error")) {
      const std::string code = text_at(*error, "code");
      // The daemon stops, or its door has waited long enough: the job goes on.
      std::string& said = code == "unavailable" || code == "timeout" ? why_waiting_ : failure_;
      said = code + ": " + text_at(*error, "message");
      return;
    }
    if (event.name == "restarted") {
      if (!others_.empty() || is_begun_) std::cerr << "\njobctl: the answer begins anew\n";
      others_.clear();
    }
    for (const json::value& choice : list_at(chunk, "choices")) show(choice);
  }

  void end_line() const {
    if (as_json_) return;
    std::cout << "\n";
    for (const auto& [index, text] : others_) {
      std::cout << "choice " << index << ":\n" << for_reader(text) << "\n";
    }
  }

  const std::string& last_id() const { return last_id_; }
  bool is_done() const { return is_done_; }
  const std::string& failure() const { return failure_; }
  // Why the last stream ended although the job goes on; empty: nothing was said.
  std::string take_why_waiting() { return std::exchange(why_waiting_, {}); }

 private:
  void show(const json::value& choice) {
    std::string text = text_at(choice, find(choice, "delta") == nullptr ? "text" : "delta.content");
    if (const json::value* calls = find(choice, "delta.tool_calls"))
      text += json::serialize(*calls);
    const int64_t index = number_at(choice, "index");
    if (index > 0) {
      others_[index] += text;
    } else if (!as_json_) {
      is_begun_ = is_begun_ || !text.empty();
      std::cout << for_reader(text) << std::flush;
    }
  }

  const bool as_json_;
  std::string last_id_;
  bool is_begun_ = false;
  bool is_done_ = false;
  std::string failure_;
  std::string why_waiting_;
  std::map<int64_t, std::string> others_;  // choices behind the first
};

}  // namespace

int follow(Client& client, const GlobalOptions& globals, int64_t id) {
  Follower follower(globals.json);
  for (;;) {
    const Status status = client.stream(
        id, follower.last_id(), [&follower](const StreamEvent& event) { follower.take(event); });
    if (follower.is_done() || !follower.failure().empty()) break;
    if (status.code() != StatusCode::unavailable && !status.ok()) return report(status);
    // The job is on disk; a daemon that comes back has it.
    std::string why = follower.take_why_waiting();
    if (!status.ok()) why = status.message();
    if (!why.empty()) std::cerr << "\njobctl: waiting: " << for_reader(why, STDERR_FILENO) << "\n";
    ::sleep(1);
  }
  follower.end_line();
  if (follower.is_done()) return kExitOk;
  std::cerr << "jobctl: " << for_reader(follower.failure(), STDERR_FILENO) << "\n";
  return kExitFailedOutcome;
}

}  // namespace parkd::jobctl
