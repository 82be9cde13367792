// Where the pair rocksdb + postgres lives in a test: a directory and a database.
#pragma once

#include <memory>
#include <string>

#include "lib/store/outbox/outbox_store.h"

namespace parkd {

// Options for the pair in `dir` and `dsn`.
OutboxOptions outbox_options(const std::string& dir, const std::string& dsn);

// The same store, made quiet: a verb that ends jobs completes only when their messages are
// delivered, so that counts are exact and every read goes to the database.
std::unique_ptr<JobStore> make_settled(std::unique_ptr<JobStore> store);

// Waits until nothing is left to deliver. False after ten seconds.
bool settle(JobStore& store);

}  // namespace parkd
