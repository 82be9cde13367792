// DaemonClient: the verbs as HTTP requests on a daemon's socket.
#pragma once

#include "tools/jobctl/client.h"
#include "tools/jobctl/http_client.h"

namespace parkd::jobctl {

class DaemonClient final : public Client {
 public:
  DaemonClient(std::string socket_path, std::string tenant);

  Result<Answer> submit(const std::string& request) override;
  Result<Answer> job(int64_t id) override;
  Result<Answer> list(const ListRequest& request) override;
  Result<Answer> cancel(int64_t id) override;
  Result<Answer> requeue(const Requeue& what) override;
  Status can_stream() const override { return {}; }
  Status stream(int64_t id, const std::string& last_event_id,
                const std::function<void(const StreamEvent&)>& on_event) override;
  Result<Answer> mailbox(const MailboxRequest& request) override;
  Status take(const std::string& key, int64_t limit,
              const std::function<Status(const Answer&)>& keep) override;
  Result<Answer> open_batch(const boost::json::object& request) override;
  Result<Answer> batch(const std::string& id) override;
  Result<Answer> seal_batch(const std::string& id) override;
  Result<Answer> cancel_batch(const std::string& id) override;
  Result<Answer> models() override;

  // What only a daemon can tell: its pools.
  Result<Answer> pool();

 private:
  const std::string socket_path_;
  const std::string tenant_;
  HttpClient http_;
};

}  // namespace parkd::jobctl
