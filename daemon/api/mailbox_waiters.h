// MailboxWaiters: readers that wait for the next message of a key (long polls). Control thread.
//
// A waiter is registered before the mailbox is read, so that a message stored between the read and
// the wait is not missed: wake() makes it read again.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace parkd {

class MailboxWaiters {
 public:
  // What a waiter is told: try again (a message may be there), or answer with what there is.
  enum class Call { try_again, give_up };

  struct Waiter;
  using Handle = std::shared_ptr<Waiter>;

  explicit MailboxWaiters(boost::asio::io_context& io) : io_(io) {}
  // A waiter holds its handle, and its call the waiter: here they let go of each other.
  ~MailboxWaiters();
  MailboxWaiters(const MailboxWaiters&) = delete;
  MailboxWaiters& operator=(const MailboxWaiters&) = delete;

  // Calls `call(try_again)` at each message of the key, and `call(give_up)` once when `wait` is
  // over.
  Handle add(const std::string& tenant, const std::string& mailbox_key, std::chrono::seconds wait,
             std::function<void(Call)> call);
  // Once.
  void remove(const Handle& waiter);

  void wake(const std::string& tenant, const std::string& mailbox_key);
  void wake_all();
  // Every waiter gives up now.
  void end_all();

 private:
  using Key = std::pair<std::string, std::string>;
  using Waiters = std::multimap<Key, Handle>;

  void call_all(Call call);

  boost::asio::io_context& io_;
  Waiters waiters_;
};

struct MailboxWaiters::Waiter {
  std::function<void(Call)> call;
  std::unique_ptr<boost::asio::steady_timer> timer;
  Waiters::iterator place;  // thousands may wait: none is searched for
};

}  // namespace parkd
