#include "lib/store/postgres/task_lane.h"

#include <vector>

namespace parkd {

TaskLane::TaskLane(Commons& commons, std::string thread_name, Connection::Options session)
    : commons_(commons), thread_name_(std::move(thread_name)), connection_(std::move(session)) {}

void TaskLane::start() {
  thread_ = Thread({thread_name_, 0}, [this] { loop(); });
}

void TaskLane::loop() {
  for (;;) {
    const std::vector<Task> tasks = tasks_.wait_all();
    if (tasks.empty() && tasks_.closed()) return;
    for (const Task& task : tasks) task(connection_);
  }
}

void TaskLane::close() {
  tasks_.close();
}

void TaskLane::join() {
  thread_.join();
  connection_.close();
}

}  // namespace parkd
