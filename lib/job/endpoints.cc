#include "lib/job/endpoints.h"

namespace parkd {

std::string path_of(Endpoint endpoint) {
  for (const EndpointPath& known : kEndpoints) {
    if (known.endpoint == endpoint) return std::string(known.path);
  }
  return {};
}

const EndpointPath* find_endpoint(std::string_view path) {
  for (const EndpointPath& endpoint : kEndpoints) {
    if (endpoint.path == path) return &endpoint;
  }
  return nullptr;
}

std::string unsupported_endpoint(std::string_view path) {
  std::string why = "endpoint " + (path.empty() ? "\"\"" : std::string(path)) +
                    " is not supported yet; there are ";
  for (const EndpointPath& endpoint : kEndpoints) {
    if (&endpoint != kEndpoints) why += ", ";
    why += endpoint.path;
  }
  return why;
}

std::string unstreamed_endpoint(std::string_view path) {
  std::string why = "an answer of " + std::string(path) + " comes as a whole; those of ";
  bool is_first = true;
  for (const EndpointPath& endpoint : kEndpoints) {
    if (!endpoint.streams) continue;
    why.append(is_first ? "" : " and ").append(endpoint.path);
    is_first = false;
  }
  return why + " can be streamed";
}

}  // namespace parkd
