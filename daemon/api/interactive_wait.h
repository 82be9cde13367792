// InteractiveWait: one caller of one job: looks where the job is at each message of its key, and
// answers when it has ended; exactly once, or not at all when the caller has gone. One that streams
// is answered at once, and what would have been the answer ends its stream. Where the store is away
// it waits on.
//
// Control thread; the store is called, and answers are rendered, on quick threads.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "daemon/api/api.h"
#include "daemon/api/asked.h"
#include "daemon/api/callers.h"
#include "daemon/api/mailbox_waiters.h"
#include "daemon/api/streamed_answer.h"
#include "lib/openai/stream_request.h"
#include "lib/store/client_store.h"

namespace parkd {

struct AwaitedJob {
  SubmittedJob job;
  std::string tenant;
  std::string model;
};

class Api::InteractiveWait : public std::enable_shared_from_this<Api::InteractiveWait> {
 public:
  static void begin(Api& api, AskedPtr asked, AwaitedJob job, Caller caller,
                    const StreamRequest& stream);

  InteractiveWait(Api& api, AskedPtr asked, AwaitedJob job, Caller caller,
                  const StreamRequest& stream);

 private:
  using Record = std::shared_ptr<Result<JobRecord>>;

  void start();
  void look();
  void look_later();
  void on_call(MailboxWaiters::Call call);
  void on_record(const Record& record);
  void follow(const Record& record);
  void try_to_follow(const Record& record);
  void answer(const Record& record, bool is_live);
  void send(const Record& record, bool is_live);
  void on_gone();
  void end();
  void quick(std::function<void()> task);

  Api& api_;
  AskedPtr asked_;  // null once it ended
  const AwaitedJob job_;
  const Caller caller_;
  std::shared_ptr<StreamedAnswer> stream_;  // null: the answer comes as a whole
  MailboxWaiters::Handle waiter_;
  bool is_awaited_ = false;    // the dispatcher was told so: the job was live
  bool is_following_ = false;  // its tokens
  bool looking_ = false;
  bool look_again_ = false;
  bool gives_up_ = false;
  bool is_answered_ = false;  // what it is told is known
};

// What begins the stream of that job: all that a HEAD is told, which waits for nothing.
HttpReply stream_head(const SubmittedJob& job);

// What the caller of a job that is not live is answered with.
HttpReply answer_of(const JobRecord& record, JobId id);

}  // namespace parkd
