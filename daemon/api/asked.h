// Asked: a request and what the control thread knew when it came. Made there, then constant: the
// threads that work for it share it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/models/model_table.h"
#include "lib/base/health.h"
#include "lib/base/status.h"
#include "lib/http/http_server.h"

namespace parkd {

class FileUpload;

struct Asked {
  HttpRequest request;
  std::string part;  // of the path: an id, a key
  HttpReplier reply;
  std::shared_ptr<const ModelTable> models;
  std::vector<HealthNotice> notices;
  Status may_accept;  // not ok: why work is refused
  bool stopping = false;
  std::shared_ptr<FileUpload> upload;  // of a route that takes its body as it comes; else null

  const Principal& who() const { return request.who; }
};
using AskedPtr = std::shared_ptr<const Asked>;

}  // namespace parkd
