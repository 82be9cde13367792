// Api: what the daemon's URLs mean. README.md lists them.
//
// Lives on the control thread: handle() and everything private is called there. Work that may take
// long (parsing, tokenising, pricing a submit) goes to the blocking pool; store completions come
// back by being posted to the io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "daemon/api_server.h"
#include "daemon/health_board.h"
#include "daemon/mailbox_waiters.h"
#include "daemon/model_table.h"
#include "daemon/tenants.h"
#include "lib/base/clock.h"
#include "lib/config/config.h"
#include "lib/dispatch/blocking_pool.h"
#include "lib/dispatch/dispatcher.h"
#include "lib/store/job_store.h"

namespace parkd {

class Api {
 public:
  struct Parts {
    boost::asio::io_context& io;
    const Config& config;
    JobStore& store;
    Dispatcher& dispatcher;
    BlockingPool& blocking;
    Clock& clock;
    HealthBoard& health;
    std::string database;  // as /readyz names it; empty: none
  };
  explicit Api(Parts parts);

  void handle(ApiRequest request, ApiServer::Reply reply);

  // A model came to another state.
  void set_models(std::shared_ptr<const ModelTable> models) { models_ = std::move(models); }
  // From now on submits are answered 503, and long polls end.
  void stop_accepting();
  // A message was stored: wakes who waits for its key.
  void message_stored(const std::string& tenant, const std::string& mailbox_key) {
    waiters_.wake(tenant, mailbox_key);
  }
  // A message may have been stored by others: everyone who waits looks again.
  void read_again() { waiters_.wake_all(); }

 private:
  using Reply = ApiServer::Reply;

  void route(const ApiRequest& request, const Caller& caller, Reply reply);
  void route_job(const ApiRequest& request, const Caller& caller, Reply reply);
  void route_mailbox(const ApiRequest& request, const Caller& caller, Reply reply);

  // ok, or unavailable with the reason: stopping, or a notice that refuses work.
  Status may_accept() const;

  // api_jobs.cc
  void submit(const ApiRequest& request, const Caller& caller, Reply reply);
  void get_job(JobId id, const Caller& caller, Reply reply);
  void cancel_job(JobId id, const Caller& caller, Reply reply);
  void list_jobs(const ApiRequest& request, const Caller& caller, Reply reply);

  // api_batches.cc
  void requeue(const ApiRequest& request, const Caller& caller, Reply reply);
  void open_batch(const ApiRequest& request, const Caller& caller, Reply reply);
  void list_batches(const ApiRequest& request, const Caller& caller, Reply reply);
  void route_batch(const ApiRequest& request, std::string_view rest, const Caller& caller,
                   Reply reply);

  // api_mailbox.cc
  void read_mailbox(const ApiRequest& request, const std::string& key, const Caller& caller,
                    Reply reply);
  void take_messages(const ApiRequest& request, const std::string& key, const Caller& caller,
                     Reply reply);

  // api_status.cc
  void models(Reply reply);
  void pool(Reply reply);
  void ready(Reply reply);
  void metrics(Reply reply);

  Parts parts_;
  Tenants tenants_;
  MailboxWaiters waiters_;
  std::shared_ptr<const ModelTable> models_;
  bool stopping_ = false;
};

// {"error": ...} of a Status, with the HTTP status that fits.
ApiReply error_reply(const Status& status);

// A whole number in the query: `otherwise` when absent. Errors: invalid, naming it and its range.
Result<int64_t> query_number(const ApiRequest& request, const std::string& name, int64_t otherwise,
                             int64_t min, int64_t max);

}  // namespace parkd
