#include "lib/config/read_stores.h"

#include "lib/config/values.h"
#include "lib/config/words.h"

namespace parkd {
namespace {

// A key of another back end is refused, not ignored. A URL is not shown: it may hold a password.
void refuse_foreign(const YamlSection& section, std::string_view key, StoreBackend backend) {
  if (!section.has_value(key)) return;
  const std::string why =
      "has no use with the " + std::string(to_string(backend)) + " back end: leave it out";
  key == "postgres_url" ? section.fail(key, why) : section.fail_value(key, why);
}

void read_queue_dir(const YamlSection& section, const std::string& state_dir, QueueConfig& queue) {
  if (queue.backend != StoreBackend::rocksdb) {
    refuse_foreign(section, "rocksdb_dir", queue.backend);
    refuse_foreign(section, "yaque_dir", queue.backend);
    return;
  }
  if (section.has_value("rocksdb_dir") && section.has_value("yaque_dir")) {
    section.fail_value("yaque_dir", "is a second name of rocksdb_dir: write one of them");
    return;
  }
  queue.rocksdb_dir = joined(state_dir, "queue");
  if (auto folder = nullable_path(section, "yaque_dir")) queue.rocksdb_dir = *folder;
  if (auto folder = nullable_path(section, "rocksdb_dir")) queue.rocksdb_dir = *folder;
}

std::string_view contradiction_of(StoreBackend backend) {
  switch (backend) {
    case StoreBackend::memory:
      return "contradicts backend memory, which forgets jobs when it stops: leave persistence out, "
             "or choose backend rocksdb or postgres";
    case StoreBackend::rocksdb:
      return "contradicts backend rocksdb, which keeps jobs on disk: leave persistence out, or "
             "choose backend memory";
    case StoreBackend::postgres:
      return "contradicts backend postgres, which keeps jobs in the database: leave persistence "
             "out, or choose backend memory";
  }
  return "";
}

// One database: the end of a job and its message are one transaction.
void resolve_urls(const YamlSection& queue_section, const YamlSection& mailbox_section,
                  QueueConfig& queue, MailboxConfig& mailbox) {
  mailbox.postgres_url = nullable_dsn(mailbox_section, "postgres_url").value_or("");
  const bool both = queue.backend == StoreBackend::postgres;
  if (both && mailbox.postgres_url.empty()) mailbox.postgres_url = queue.postgres_url;
  if (both && queue.postgres_url.empty()) queue.postgres_url = mailbox.postgres_url;
  if (mailbox.postgres_url.empty()) {
    (both ? queue_section : mailbox_section)
        .fail("backend",
              "postgres needs postgres_url beside it, without a password: "
              "postgresql://parkd@db1/parkd, or service=parkd");
  } else if (both && mailbox.postgres_url != queue.postgres_url) {
    mailbox_section.fail("postgres_url",
                         "differs from the queue's: a job's end and its message are one "
                         "transaction in one database; leave it out here");
  }
}

}  // namespace

QueueConfig read_queue(const YamlSection& section, const std::string& state_dir) {
  QueueConfig queue;
  queue.backend =
      section.word<StoreBackend>("backend", words::kStoreBackend).value_or(StoreBackend::rocksdb);
  queue.persistence = queue.backend != StoreBackend::memory;
  const auto persistence = section.boolean("persistence");
  if (persistence && *persistence != queue.persistence) {
    section.fail_value("persistence", std::string(contradiction_of(queue.backend)));
  }
  read_queue_dir(section, state_dir, queue);
  if (queue.backend == StoreBackend::postgres) {
    queue.postgres_url = nullable_dsn(section, "postgres_url").value_or("");
  } else {
    refuse_foreign(section, "postgres_url", queue.backend);
  }
  return queue;
}

MailboxConfig read_mailbox(const YamlSection& section, const YamlSection& queue_section,
                           QueueConfig& queue, const ParkingLotKeys& keys) {
  MailboxConfig mailbox;
  mailbox.backend =
      section.word<StoreBackend>("backend", words::kStoreBackend).value_or(queue.backend);
  const bool outbox =
      queue.backend == StoreBackend::rocksdb && mailbox.backend == StoreBackend::postgres;
  if (mailbox.backend != queue.backend && !outbox) {
    section.fail_value("backend", "does not go with queue back end " +
                                      std::string(to_string(queue.backend)) +
                                      ": the pairs are memory + memory, rocksdb + rocksdb, "
                                      "postgres + postgres and rocksdb + postgres");
  }
  if (mailbox.backend == StoreBackend::postgres) {
    resolve_urls(queue_section, section, queue, mailbox);
  } else {
    refuse_foreign(section, "postgres_url", mailbox.backend);
  }
  mailbox.retention = resolve_retention(keys, queue.backend);
  return mailbox;
}

void check_model_backends(const YamlSection& queue, const YamlSection& mailbox,
                          const Config& config) {
  const std::string one =
      ", but a daemon has one queue and one mailbox: set it in the global "
      "parking_lot";
  const auto check = [&](const YamlSection& section, StoreBackend global) {
    const auto backend = section.word<StoreBackend>("backend", words::kStoreBackend);
    if (backend && *backend != global) {
      section.fail_value("backend",
                         "differs from the global " + std::string(to_string(global)) + one);
    }
  };
  check(queue, config.queue.backend);
  check(mailbox, config.mailbox.backend);
  for (const std::string_view key : {"persistence", "rocksdb_dir", "yaque_dir"}) {
    if (queue.has(key)) queue.fail_value(key, "is set for one model" + one);
  }
  for (const YamlSection* section : {&queue, &mailbox}) {
    if (section->has("postgres_url")) section->fail("postgres_url", "is set for one model" + one);
  }
}

}  // namespace parkd
