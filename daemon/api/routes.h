// The URLs: what each is called, which thread does its work, and how large a body it takes.
//
//   control thread            reads the header, looks the route up here, receives the body in
//   blocks
//     |                       of 64 KiB, asks who the peer is, passes both on. Answers /healthz.
//     +-> quick thread        (ApiWork::quick) parses small bodies, calls the store, renders
//     answers
//     +-> blocking thread     (ApiWork::heavy) parses, tokenises and prices submits
//            |
//            v
//   store thread              a completion: passes the answer on, to a quick thread that renders it
//            |
//            v
//   control thread            writes the rendered text
//
// So control parses, scans, copies and builds nothing larger than a block; tests/daemon counts.
// Constant data, any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace parkd {

enum class RouteId {
  submit,
  list_jobs,
  requeue,
  get_job,
  cancel_job,
  open_batch,
  list_batches,
  get_batch,
  seal_batch,
  cancel_batch,
  read_mailbox,
  take,
  models,
  pool,
  healthz,
  readyz,
  metrics,
};

struct Route {
  RouteId id;
  std::string_view method;  // GET stands for HEAD too
  std::string_view before;  // the path, up to its variable part
  std::string_view after;   // the rest of it
  bool has_part;            // whether there is a variable part: one segment, or a mailbox key
  size_t body_bytes_max;    // kMaxRequestBytes: daemon.max_request_bytes

  std::string name() const;  // "POST /v1/jobs/ID/cancel"
};

inline constexpr size_t kMaxRequestBytes = static_cast<size_t>(-1);

struct RouteMatch {
  const Route* route = nullptr;  // null: none
  std::string_view part;         // of the path that was given
  std::string allow;             // of a path that only other methods have: "GET, HEAD"; else empty
};

// `path` is decoded and must outlive the match.
RouteMatch match_route(std::string_view method, std::string_view path);

}  // namespace parkd
