#include "tests/crash/kills_clients.h"

#include <unistd.h>

#include "lib/base/clock.h"

namespace parkd::testing {
namespace {

constexpr useconds_t kBreath_us = 2000;  // between two looks at what may have changed

// Hours in other periods of the mailbox, 6 hours, days and weeks; all longer than any run.
constexpr int kRetentions_s[] = {2 * 3600,  3 * 3600,  4 * 3600,   5 * 3600,   9 * 3600,  26 * 3600,
                                 40 * 3600, 72 * 3600, 240 * 3600, 500 * 3600, 719 * 3600};

std::string in_ms(uint64_t ms) {
  return to_rfc3339(SystemClock().now() + std::chrono::milliseconds(static_cast<int64_t>(ms)));
}

// The doors of one tenant. Who sends something again may come by another one.
class Doors {
 public:
  Doors(std::mt19937_64& random, std::vector<std::unique_ptr<Door>> doors)
      : random_(random), doors_(std::move(doors)) {}
  Door& any() { return *doors_[random_() % doors_.size()]; }

  // Until somebody knows. A daemon lives again some time.
  template <class Ask>
  auto insist(Ask ask) {
    for (;;) {
      auto told = ask(any());
      if (told.said != Said::nobody_knows) return told;
      ::usleep(kBreath_us);
    }
  }

 private:
  std::mt19937_64& random_;
  std::vector<std::unique_ptr<Door>> doors_;
};

// Submits and tells the account; with keys, until it is answered.
void submit(Account& account, Doors& doors, const std::vector<Order>& orders) {
  account.submitting(orders);
  const auto once = [&](Door& door) { return door.submit(orders); };
  const auto told = orders.front().keyed ? doors.insist(once) : once(doors.any());
  if (told.said == Said::done) account.accepted(orders, told.value);
  if (told.said == Said::refused) account.refused(orders, told.why);
}

}  // namespace

Clients::Clients(Account& account, Options options)
    : account_(account), options_(std::move(options)) {}

Clients::~Clients() {
  stop();
  stop_readers();
}

std::vector<Box> Clients::boxes() const {
  std::vector<Box> boxes;
  for (const std::string& tenant : options_.tenants) {
    boxes.push_back({tenant, "first", false});
    boxes.push_back({tenant, "second", false});
    boxes.push_back({tenant, "taken", true});
  }
  return boxes;
}

void Clients::run(const std::string& name, std::function<void(std::mt19937_64&)> body) {
  const uint64_t seed = options_.seed * 1000 + clients_.size();
  clients_.emplace_back(Thread::Options{name, 0}, [seed, body = std::move(body)] {
    std::mt19937_64 random(seed);
    body(random);
  });
}

void Clients::start() {
  for (const std::string& tenant : options_.tenants) {
    for (int i = 0; i < 2; ++i) {
      run("submits", [this, tenant, i](auto& random) { submit_all_the_time(tenant, i, random); });
      run("takes", [this, tenant](auto& random) { take(tenant, random); });
    }
    run("batches", [this, tenant](auto& random) { open_batches(tenant, random); });
  }
  run("cancels", [this](auto& random) { cancel_and_requeue(random); });
  run("looks", [this](auto& random) { look_at_jobs(random); });

  const auto reader = [this](const std::string& name, std::function<void(std::mt19937_64&)> body) {
    const uint64_t seed = options_.seed * 1000 + 500 + readers_.size();
    readers_.emplace_back(Thread::Options{name, 0}, [seed, body = std::move(body)] {
      std::mt19937_64 random(seed);
      body(random);
    });
  };
  for (const Box& box : boxes()) {
    reader("polls", [this, box](auto& random) {
      HttpDoor door(options_.sockets, box.tenant, random());
      const std::string name = "the long poll of " + box.tenant + "/" + box.key;
      read(account_.add_reader(name, box), box, door, 50, 5, random);
    });
  }
  reader("roams", [this](auto& random) { read_many("who goes round by HTTP", random, false); });
  if (options_.sql) {
    reader("sql roams", [this](auto& random) { read_many("who goes round by SQL", random, true); });
  }
}

void Clients::stop() {
  stopping_ = true;
  clients_.clear();
}

void Clients::stop_readers() {
  nothing_comes_ = true;
  readers_.clear();
}

bool Clients::wait_for_room() const {
  while (!stopping_ && account_.counts().open >= options_.open_max) ::usleep(kBreath_us);
  return !stopping_;
}

namespace {

// Both kinds, where there are both.
std::vector<std::unique_ptr<Door>> each_kind(const Clients::Options& options,
                                             const std::string& tenant, std::mt19937_64& random) {
  std::vector<std::unique_ptr<Door>> doors;
  doors.push_back(std::make_unique<HttpDoor>(options.sockets, tenant, random()));
  if (options.sql) doors.push_back(options.sql(tenant));
  return doors;
}

}  // namespace

void Clients::submit_all_the_time(const std::string& tenant, int number, std::mt19937_64& random) {
  Doors doors(random, each_kind(options_, tenant, random));
  const std::vector<Box> all = boxes();
  std::vector<Box> mine;
  for (const Box& box : all) {
    if (box.tenant == tenant) mine.push_back(box);
  }
  std::vector<Order> earlier;  // a submit with keys, answered a while ago
  while (wait_for_room()) {
    std::vector<Order> orders(1 + random() % 4);
    const bool keyed = random() % 2 == 0;
    // So soon that some jobs make it and others do not.
    const std::string deadline = random() % 10 == 0 ? in_ms(20 + random() % 600) : "";
    for (Order& order : orders) {
      order.custom_id = tenant + std::to_string(number) + "-" + std::to_string(++names_);
      order.box = mine[random() % mine.size()];
      order.content = static_cast<int>(random() % kContents);
      order.retention_s = kRetentions_s[random() % std::size(kRetentions_s)];
      order.keyed = keyed;
      order.deadline = deadline;
      order.may_miss = !deadline.empty();
    }
    submit(account_, doors, orders);
    if (!keyed) continue;
    if (random() % 4 == 0) submit(account_, doors, orders);
    // Long after its deadline and its end, too. One that was refused is not accepted later: its
    // deadline has passed, and a repeat says so again.
    if (!earlier.empty() && random() % 4 == 0) submit(account_, doors, earlier);
    if (earlier.empty() || random() % 8 == 0) earlier = orders;
  }
}

void Clients::open_batches(const std::string& tenant, std::mt19937_64& random) {
  Doors doors(random, each_kind(options_, tenant, random));
  const std::vector<Box> all = boxes();
  std::vector<Box> mine;
  for (const Box& box : all) {
    if (box.tenant == tenant && !box.has_takers) mine.push_back(box);
  }
  while (wait_for_room()) {
    const bool is_short = random() % 3 == 0;
    const std::string deadline = is_short ? in_ms(200 + random() % 1500) : "";
    const std::string key = tenant + "-batch-" + std::to_string(++names_);
    const auto opened = doors.insist([&](Door& door) { return door.open_batch(key, deadline); });
    if (opened.said == Said::refused) {
      if (!is_short) account_.found(Fault::wrong, key + " was refused: " + opened.why);
      continue;  // its deadline passed before it was opened
    }
    const std::string batch = opened.value;
    account_.batch_opened(batch);
    std::vector<Order> members;
    const uint64_t n_submits = 1 + random() % 3;
    for (uint64_t i = 0; i < n_submits; ++i) {
      members.assign(1 + random() % 4, Order{});
      const bool keyed = random() % 3 != 0;
      for (Order& order : members) {
        order.custom_id = key + "-" + std::to_string(++names_);
        order.box = mine[random() % mine.size()];
        order.content = static_cast<int>(random() % kContents);
        order.retention_s = kRetentions_s[random() % std::size(kRetentions_s)];
        order.keyed = keyed;
        order.batch = batch;
        order.may_miss = is_short;
      }
      submit(account_, doors, members);
    }
    if (random() % 5 == 0) {
      account_.cancelling_batch(batch);
      doors.insist([&](Door& door) { return door.cancel_batch(batch); });
    }
    const auto sealed = doors.insist([&](Door& door) { return door.seal(batch); });
    if (sealed.said != Said::done) {
      account_.found(Fault::wrong, batch + " could not be sealed: " + sealed.why);
    }
    if (members.front().keyed)
      submit(account_, doors, members);  // sealed, and answered all the same
  }
}

void Clients::cancel_and_requeue(std::mt19937_64& random) {
  Doors doors(random, each_kind(options_, "", random));
  while (!stopping_) {
    ::usleep(kBreath_us * (1 + static_cast<useconds_t>(random() % 20)));
    const Account::Counts counts = account_.counts();
    if (random() % 2 == 0) {
      if (counts.cancelled * 6 > counts.acknowledged) continue;  // most jobs shall run
      const auto id = account_.newest_job(random);
      if (!id) continue;
      account_.cancelling(*id);
      const auto told = doors.insist([&](Door& door) { return door.cancel(*id); });
      account_.cancel_said(*id, told.said == Said::done ? told.value : "refused");
    } else {
      const auto id = account_.one_that_did_not_complete(random);
      if (!id) continue;
      const auto told = doors.insist([&](Door& door) { return door.requeue(*id); });
      if (told.said == Said::done) account_.requeued(*id, told.value);
      if (told.said == Said::refused) account_.found(Fault::wrong, "requeue: " + told.why);
    }
  }
}

void Clients::look_at_jobs(std::mt19937_64& random) {
  HttpDoor door(options_.sockets, "", random());
  while (!stopping_) {
    ::usleep(kBreath_us);
    const auto id = account_.some_job(random, random() % 2 == 0);
    if (!id) continue;
    const uint64_t asked = account_.moment();
    const auto told = door.outcome_of(*id);
    if (told.said == Said::done) account_.looked_at(*id, asked, told.value);
    if (told.said == Said::refused) account_.looked_at(*id, asked, std::nullopt);
  }
}

void Clients::take(const std::string& tenant, std::mt19937_64& random) {
  Doors doors(random, each_kind(options_, tenant, random));
  const Box box{tenant, "taken", true};
  while (!stopping_) {
    ::usleep(kBreath_us * (1 + static_cast<useconds_t>(random() % 10)));
    const auto told = doors.any().take(box.key, 1 + static_cast<int>(random() % 5));
    if (told.said == Said::done) account_.took(box, told.value);
    if (told.said == Said::nobody_knows && !told.value.empty()) account_.take_in_doubt(told.value);
  }
}

void Clients::read(int reader, const Box& box, Door& door, int limit_max, int wait_s,
                   std::mt19937_64& random) {
  uint64_t after = 0;
  for (;;) {
    const bool to_the_end = nothing_comes_;
    const int limit = 1 + static_cast<int>(random() % static_cast<uint64_t>(limit_max));
    const uint64_t asked = account_.moment();
    const auto told = door.fetch(box.key, after, limit, to_the_end ? 0 : wait_s);
    if (told.said == Said::refused) {
      return account_.found(Fault::wrong, "a reader was refused: " + told.why);
    }
    if (told.said == Said::nobody_knows) {
      ::usleep(kBreath_us);
      continue;
    }
    account_.read(reader, asked, after, told.value.messages, told.value.next);
    after = told.value.next;
    if (to_the_end && told.value.messages.empty()) return;
  }
}

// One who reads all boxes in turn, in small pages, and does not wait.
void Clients::read_many(const std::string& name, std::mt19937_64& random, bool by_sql) {
  struct Place {
    Box box;
    std::unique_ptr<Door> door;
    int reader;
    uint64_t after = 0;
    bool at_the_end = false;
  };
  std::vector<Place> places;
  for (const Box& box : boxes()) {
    auto way = by_sql ? options_.sql(box.tenant)
                      : std::make_unique<HttpDoor>(options_.sockets, box.tenant, random());
    const int reader = account_.add_reader(name + ", " + box.tenant + "/" + box.key, box);
    places.push_back({box, std::move(way), reader});
  }
  for (;;) {
    const bool to_the_end = nothing_comes_;
    size_t n_ended = 0;
    size_t n_messages = 0;
    for (Place& place : places) {
      const uint64_t asked = account_.moment();
      const auto told =
          place.door->fetch(place.box.key, place.after, 1 + static_cast<int>(random() % 9), 0);
      if (told.said != Said::done) continue;
      account_.read(place.reader, asked, place.after, told.value.messages, told.value.next);
      place.after = told.value.next;
      n_messages += told.value.messages.size();
      if (to_the_end && told.value.messages.empty()) ++n_ended;
    }
    if (n_ended == places.size()) return;
    if (n_messages == 0) ::usleep(kBreath_us);
  }
}

}  // namespace parkd::testing
