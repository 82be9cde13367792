#include "lib/store/postgres/task_session.h"

#include <vector>

namespace parkd {

TaskSession::TaskSession(SharedState& shared, std::string thread_name, Connection::Options session)
    : shared_(shared), thread_name_(std::move(thread_name)), connection_(std::move(session)) {}

void TaskSession::start() {
  thread_ = Thread({thread_name_, 0}, [this] { loop(); });
}

void TaskSession::loop() {
  for (;;) {
    const std::vector<Task> tasks = tasks_.wait_all();
    if (tasks.empty() && tasks_.closed()) return;
    for (const Task& task : tasks) task(connection_);
  }
}

void TaskSession::close() {
  tasks_.close();
}

void TaskSession::join() {
  thread_.join();
  connection_.close();
}

}  // namespace parkd
