// The URLs: one table with everything about each. How requests are answered (404, 405 with Allow,
// 413, 400 of an unknown query parameter), /metrics, /openapi.json and README's table are made from
// it.
//
//   control thread            reads the header, looks the route up here, asks who the peer is,
//     |                       receives the body in blocks of 64 KiB. Answers /healthz.
//     +-> quick thread        (ApiWork::quick) parses small bodies, calls the store, renders
//     |                       answers
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
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace parkd {

class Api;
struct Asked;

// Where a route's work begins.
enum class RouteThread { control, quick, blocking };
// Who may ask: any peer; one that may connect to the socket or has a token; one that is a tenant.
enum class RouteAccess { anyone, known, tenant };

// What a POST brings: JSON, or a form with a file, which is taken as it comes (file_upload.h).
enum class RouteBody { json, file };

inline constexpr size_t kMaxRequestBytes = static_cast<size_t>(-1);

// For /openapi.json: words between blanks. A body is the name of a schema of JSON
// (openapi_schemas.h) or a media type, which has a slash and stands for text.
struct RouteShape {
  std::string_view gives{};           // with these statuses
  std::string_view takes{};           // empty: no body
  std::string_view headers{};         // that change what it does
  std::string_view statuses = "200";  // besides refusals
};

struct Route {
  std::string_view method;  // GET stands for HEAD too
  std::string_view
      path;  // with ID for one segment, or KEY or NAME for a key or a model, with slashes
  std::string_view query;  // the parameters it knows: "after limit"
  RouteThread thread;
  RouteAccess access;
  size_t body_bytes_max;  // kMaxRequestBytes: daemon.max_request_bytes
  void (Api::*verb)(const std::shared_ptr<const Asked>&);
  std::string_view summary;  // one line of Markdown: what goes in, what comes back
  RouteShape shape;
  RouteBody body = RouteBody::json;

  std::string name() const;       // "POST /v1/jobs/ID/cancel"
  std::string_view part() const;  // ID, KEY or NAME; empty: the path has none
};

// The words of one of the table's texts, between blanks.
std::vector<std::string_view> words_of(std::string_view text);

// Of two that a path fits, the first is meant.
std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;  // null: none
  std::string_view part;         // of the path that was given: what stands for ID, KEY or NAME
  std::string allow;             // of a path that only other methods have: "GET, HEAD"; else empty
};

// `path` is decoded and must outlive the match.
RouteMatch match_route(std::string_view method, std::string_view path);

}  // namespace parkd
