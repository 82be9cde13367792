// Api: what the daemon's URLs mean. README.md lists them.
//
// admit() is called on the control thread, which only looks the route and the caller up; the verbs
// run on the threads of ApiWork, with what they need of the control thread's state in an Asked, and
// store completions go on there too (routes.h draws it).
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "daemon/api/asked.h"
#include "daemon/api/callers.h"
#include "daemon/api/mailbox_waiters.h"
#include "daemon/api/routes.h"
#include "daemon/api/tcp_door.h"
#include "daemon/api/tenants.h"
#include "daemon/api/work.h"
#include "daemon/batches/file_batches.h"
#include "daemon/health/health_board.h"
#include "daemon/models/model_table.h"
#include "daemon/webhooks/webhooks.h"
#include "lib/base/blocking_pool.h"
#include "lib/base/clock.h"
#include "lib/config/config.h"
#include "lib/dispatch/dispatcher.h"
#include "lib/dispatch/token_feed.h"
#include "lib/http/http_server.h"
#include "lib/store/batch_store.h"
#include "lib/store/caller_store.h"
#include "lib/store/completion.h"
#include "lib/store/file_store.h"

namespace parkd {

class ClientStore;
class RequestFields;
struct RequeueRequest;

class Api {
 public:
  struct Parts {
    boost::asio::io_context& io;
    const Config& config;
    ClientStore& store;
    BatchStore& batches;
    CallerStore& callers;
    Dispatcher& dispatcher;
    TokenFeed& tokens;
    BlockingPool& blocking;
    int blocking_threads;
    Clock& clock;
    HealthBoard& health;
    const ByteBudget& bodies;          // what parsing is charged to
    ByteBudget& answers;               // and what is read to be sent
    std::shared_ptr<FileStore> files;  // null: there is none
    FileBatches* file_batches;         // where there are files
    std::string database;              // as /readyz names it; empty: none
  };
  explicit Api(Parts parts);

  // Whose request it is, what it may have as its body and who answers it; or why it is refused
  // without one.
  HttpAdmission admit(const HttpRequest& request);
  // Nothing is begun any more; what was begun ends. The store must still be there.
  void stop() { work_.stop(); }
  // Jobs whose callers' daemon is gone are looked after from now on. Once.
  void start() { callers_.start(); }
  // Those who share the store took this daemon for gone; it goes on.
  void ownership_lost() { callers_.lost(); }
  // For /metrics.
  void set_server(const HttpServer& server) { server_ = &server; }
  void set_webhooks(const Webhooks& webhooks) { webhooks_ = &webhooks; }

  // Who may come by TCP from now on.
  void set_tokens(TokenTable tokens) { tcp_.set_tokens(std::move(tokens)); }
  // How many files there are, for /metrics.
  void set_file_figures(const FileFigures& figures) { file_figures_ = figures; }
  // Of main memory, for models.
  void set_memory_budget(int64_t bytes) { memory_budget_bytes_ = bytes; }
  // A model came to another state.
  void set_models(std::shared_ptr<const ModelTable> models) { models_ = std::move(models); }
  // From now on submits are answered 503, and long polls end.
  void stop_accepting();
  // Nothing that was claimed is left: whose job did not end is told so.
  void drained();
  // A message was stored: wakes who waits for its key.
  void message_stored(const std::string& tenant, const std::string& mailbox_key) {
    waiters_.wake(tenant, mailbox_key);
  }
  // A message may have been stored by others: everyone who waits looks again.
  void read_again() { waiters_.wake_all(); }

 private:
  friend std::span<const Route> routes();  // names the verbs
  class InteractiveWait;
  class MailboxRead;

  // ok, or unavailable with the reason: stopping, or a notice that refuses work.
  Status may_accept() const;
  // Control thread: a request with its body.
  void begin(const Route& route, const std::shared_ptr<Asked>& asked);
  // A store's completion, carried on to a quick thread.
  template <class T>
  Completion<T> on_quick(const AskedPtr& asked, std::function<void(Result<T>)> then) {
    return [this, asked, then = std::move(then)](Result<T> answer) {
      ApiWork::guarded(asked->reply, [&] {
        auto held = std::make_shared<Result<T>>(std::move(answer));
        work_.quick(asked->who(), asked->reply, [held, then] { then(std::move(*held)); });
      })();
    };
  }

  // interactive.cc
  void interactive(const AskedPtr& asked);
  void stream_job(const AskedPtr& asked);

  // jobs.cc
  void submit(const AskedPtr& asked);
  void get_job(const AskedPtr& asked);
  void cancel_job(const AskedPtr& asked);
  void list_jobs(const AskedPtr& asked);

  // batches.cc
  void requeue(const AskedPtr& asked);
  void requeue_now(const AskedPtr& asked, RequeueRequest requeue);
  void open_batch(const AskedPtr& asked);
  // file_batches.cc
  void open_file_batch(const AskedPtr& asked, const std::string& file_id, RequestFields& fields);
  void retry_batch(const AskedPtr& asked);
  void open_checked(const AskedPtr& asked, BatchSpec spec);
  void list_batches(const AskedPtr& asked);
  void get_batch(const AskedPtr& asked);
  void seal_batch(const AskedPtr& asked);
  void cancel_batch(const AskedPtr& asked);
  Completion<Batch> answer_batch(const AskedPtr& asked);

  // files.cc
  void admit_upload(const HttpRequest& request, HttpAdmission& admission,
                    std::shared_ptr<FileUpload>& upload);
  void upload_file(const AskedPtr& asked);  // control thread
  void list_files(const AskedPtr& asked);
  void get_file(const AskedPtr& asked);
  void read_file(const AskedPtr& asked);
  void delete_file(const AskedPtr& asked);
  void remove_file(const AskedPtr& asked);
  bool has_files(const AskedPtr& asked) const;
  void send_file(const AskedPtr& asked, const StoredFile& file);

  // result_files.cc
  struct ResultSize;
  class ResultScan;
  class ResultBytes;
  using OfResult = std::function<void(Batch)>;
  void with_result(const AskedPtr& asked, const ResultName& name, OfResult then);
  void measure(const AskedPtr& asked, const ResultName& name,
               std::function<void(Batch, ResultSize)> then);
  void get_result_file(const AskedPtr& asked, const ResultName& name);
  void read_result_file(const AskedPtr& asked, const ResultName& name);
  void delete_result_file(const AskedPtr& asked, const ResultName& name);

  // mailbox.cc
  void read_mailbox(const AskedPtr& asked);  // control thread
  void take_messages(const AskedPtr& asked);
  void take_named(const AskedPtr& asked, std::vector<uint64_t> sequences);

  // status.cc
  void models(const AskedPtr& asked);
  void model(const AskedPtr& asked);
  void pool(const AskedPtr& asked);
  void healthz(const AskedPtr& asked);  // control thread
  void openapi(const AskedPtr& asked);  // control thread
  void ready(const AskedPtr& asked);
  void metrics(const AskedPtr& asked);  // control thread

  Parts parts_;
  Tenants tenants_;
  TcpDoor tcp_;
  MailboxWaiters waiters_;
  Callers callers_;
  std::shared_ptr<const ModelTable> models_;
  const HttpServer* server_ = nullptr;
  const Webhooks* webhooks_ = nullptr;
  FileFigures file_figures_;
  int64_t memory_budget_bytes_ = 0;
  bool stopping_ = false;
  bool drained_ = false;
  ApiWork work_;
};

// A whole number in the query: `otherwise` when absent. Errors: invalid, naming it and its range.
Result<int64_t> query_number(const HttpRequest& request, const std::string& name, int64_t otherwise,
                             int64_t min, int64_t max);
// Of a path. Errors: invalid (param "id").
Result<JobId> read_job_id(std::string_view text);
Status no_such_job(JobId id);

}  // namespace parkd
