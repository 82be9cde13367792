// RocksDB's own log lines go into ours: event `rocksdb`, what went wrong at our level, the rest at
// debug. With it set RocksDB writes no LOG file of its own; its writer of those fails an assertion
// on a full disk (Debian's 7.8), at the opening too. For every place that opens a database.
#pragma once

#include <memory>
#include <string>

namespace rocksdb {
class Logger;
}

namespace parkd {

// `dir` names the store in the lines. Any thread may write to it.
std::shared_ptr<rocksdb::Logger> rocksdb_info_log(const std::string& dir);

// Removes LOG and LOG.old.*, which earlier versions let RocksDB write.
void remove_old_info_logs(const std::string& dir);

}  // namespace parkd
