// A batch of a file as a client of a real daemon has it: its requests, some of them bad, and what
// its two result files must hold. One thread.
#pragma once

#include <boost/json.hpp>
#include <map>
#include <string>

#include "tests/support/daemon_process.h"

namespace parkd::testing {

constexpr int kBatchLines = 1500;  // more than one portion of a thousand
constexpr int kBadLineEvery = 50;

// custom_ids c0 to c1499; those whose number kBadLineEvery divides have a bad body.
std::string batch_requests();

class BatchClient {
 public:
  explicit BatchClient(DaemonProcess& daemon) : daemon_(daemon) {}

  // Empty when the daemon died over it.
  boost::json::object call(const std::string& method, const std::string& target,
                           const std::string& body = "", const std::string& headers = "");
  std::string upload(const std::string& bytes);  // the file's id
  boost::json::object open(const std::string& file_id, const std::string& headers = "");
  // The batch when it is completed; empty: the daemon died before.
  boost::json::object completed(const std::string& id);
  std::string content(const boost::json::value& file_id);
  // Each request stands in the file where it belongs, once, and in the batch's counts.
  void expect_each_line_once(const boost::json::object& batch);

 private:
  std::map<std::string, int> ids(const boost::json::value& file_id);  // how often each stands there

  DaemonProcess& daemon_;
};

}  // namespace parkd::testing
