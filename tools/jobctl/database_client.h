// DatabaseClient: the verbs by SQL, as the login's own role, for hosts without a daemon. Built
// where libpqxx is.
#pragma once

#include "lib/store/postgres/client.h"
#include "tools/jobctl/client.h"

namespace parkd::jobctl {

class DatabaseClient final : public Client {
 public:
  DatabaseClient(std::string dsn, std::string tenant);

  Result<Answer> submit(const std::string& request) override;
  Result<Answer> job(int64_t id) override;
  Result<Answer> list(const ListRequest& request) override;
  Result<Answer> cancel(int64_t id) override;
  Result<Answer> requeue(const Requeue& what) override;
  Status can_stream() const override;
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

 private:
  PostgresClient database_;
};

}  // namespace parkd::jobctl
