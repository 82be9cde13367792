// The form by which a file is uploaded (POST /v1/files), as a client sends it. For tests.
#pragma once

#include <string>

namespace parkd::testing {

inline std::string file_form_head(const std::string& filename) {
  return "--b0und\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
         "--b0und\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" +
         filename + "\"\r\n\r\n";
}
inline const std::string kFileFormTail = "\r\n--b0und--\r\n";

// The request, up to where the file's bytes stand; behind them comes kFileFormTail.
inline std::string file_upload_head(const std::string& filename, size_t n_bytes,
                                    const std::string& headers = "") {
  const size_t n_body = file_form_head(filename).size() + n_bytes + kFileFormTail.size();
  return "POST /v1/files HTTP/1.1\r\nHost: p\r\n" + headers +
         "Content-Type: multipart/form-data; boundary=b0und\r\nContent-Length: " +
         std::to_string(n_body) + "\r\n\r\n" + file_form_head(filename);
}

}  // namespace parkd::testing
