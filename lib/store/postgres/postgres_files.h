// A FileStore in the database that daemons share (migration 0015): any of them serves any file.
//
// One thread and connection of its own, "parkd-files", opened when it is needed: verbs go one by
// one and wait for a database that is away as JobStore's do (verb_limit, then unavailable). A verb
// whose commit was not answered is sent again and is done once. Time is the database's.
//
// An upload is its process's that began it. purge_files says of each that it goes on: what was
// begun by a process that was killed is given up kUploadUnseenMax later, by any daemon. It is lost
// if the database forgets a piece of it (a restore, a failover to a standby that was behind):
// not_found, never other bytes. Limits are looked at before a verb writes, so two uploads of one
// tenant at a time may pass them by a piece each, and by one upload each. min_free_disk_bytes is
// not looked at: the disk is the server's.
#pragma once

#include <chrono>
#include <memory>

#include "lib/store/file_store.h"
#include "lib/store/postgres/postgres_store.h"

namespace parkd {

inline constexpr std::chrono::seconds kUploadUnseenMax{60};

// Connects, and checks the schema; a database that is away is checked when it is there. Errors:
// conflict (the schema, or what durability rests on), invalid (the DSN).
Result<std::unique_ptr<FileStore>> open_postgres_files(PostgresOptions options, FileLimits limits);

}  // namespace parkd
