#include "daemon/webhooks/webhook_sender.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <new>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/ip_range.h"

namespace parkd {
namespace {

constexpr size_t kAnswerBytesMax = 64 << 10;  // of its headers and its body, each

template <class Value>
void set(CURL* handle, CURLoption option, Value value) {
  PARKD_CHECK(curl_easy_setopt(handle, option, value) == CURLE_OK, "an option of libcurl");
}

std::string text_of(const sockaddr& address) {
  char text[INET6_ADDRSTRLEN] = "";
  const void* bytes =
      address.sa_family == AF_INET6
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(address).sin6_addr)
          : &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
  ::inet_ntop(address.sa_family, bytes, text, sizeof text);
  return text;
}

// In libcurl's words, without what differs from one attempt to the next.
std::string why(CURLcode code, const std::string& detail) {
  const bool says_how_long = code == CURLE_COULDNT_CONNECT || code == CURLE_OPERATION_TIMEDOUT;
  return says_how_long || detail.empty() ? curl_easy_strerror(code) : detail;
}

}  // namespace

struct WebhookSender::Curl {
  CURLM* multi = nullptr;
};

struct WebhookSender::Transfer {
  WebhookPost post;
  CURL* handle = nullptr;
  curl_slist* headers = nullptr;
  std::array<char, CURL_ERROR_SIZE> error{};
  size_t n_header_bytes = 0;
  size_t n_body_bytes = 0;
  std::string refused;  // the address that was not connected to, and why

  ~Transfer() {
    if (handle != nullptr) curl_easy_cleanup(handle);
    curl_slist_free_all(headers);
  }

  // --- what libcurl calls

  // Any other number than that of the bytes ends the transfer.
  static size_t on_header(char*, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    transfer.n_header_bytes += size * count;
    return transfer.n_header_bytes <= kAnswerBytesMax ? size * count : 0;
  }
  static size_t on_body(char*, size_t size, size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    transfer.n_body_bytes += size * count;
    return transfer.n_body_bytes <= kAnswerBytesMax ? size * count : 0;
  }
  static curl_socket_t on_socket(void* self, curlsocktype, curl_sockaddr* address) {
    auto& transfer = *static_cast<Transfer*>(self);
    const IpRange range = ip_range_of(address->addr);
    const bool may = range == IpRange::global ||
                     (range == IpRange::loopback && transfer.post.may_be_loopback) ||
                     (range == IpRange::local && transfer.post.may_be_local);
    if (!may) {
      transfer.refused = "its host is at the " + std::string(to_string(range)) + " address " +
                         text_of(address->addr) +
                         (range == IpRange::unusable ? ""
                                                     : ", which daemon.webhooks does not allow "
                                                       "(allow_private)");
      return CURL_SOCKET_BAD;
    }
    return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  }

  void set_up(const Limits& limits) {
    for (const std::string& header : post.headers) {
      curl_slist* longer = curl_slist_append(headers, header.c_str());
      if (longer == nullptr) throw std::bad_alloc();
      headers = longer;
    }
    set(handle, CURLOPT_URL, post.url.text.c_str());
    set(handle, CURLOPT_PATH_AS_IS, 1L);
    set(handle, CURLOPT_PROTOCOLS_STR, post.url.scheme.c_str());
    set(handle, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
    set(handle, CURLOPT_POST, 1L);
    set(handle, CURLOPT_POSTFIELDS, post.body.c_str());
    set(handle, CURLOPT_POSTFIELDSIZE, static_cast<long>(post.body.size()));
    set(handle, CURLOPT_HTTPHEADER, headers);
    set(handle, CURLOPT_USERAGENT, "parkd/" PARKD_VERSION);
    // Nothing of the environment, and no other's.
    set(handle, CURLOPT_FOLLOWLOCATION, 0L);
    set(handle, CURLOPT_PROXY, "");
    set(handle, CURLOPT_NETRC, long{CURL_NETRC_IGNORED});
    set(handle, CURLOPT_FRESH_CONNECT, 1L);
    set(handle, CURLOPT_FORBID_REUSE, 1L);
    set(handle, CURLOPT_SSL_SESSIONID_CACHE, 0L);
    set(handle, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    set(handle, CURLOPT_SSL_VERIFYPEER, 1L);
    set(handle, CURLOPT_SSL_VERIFYHOST, 2L);
    set(handle, CURLOPT_SSLVERSION, long{CURL_SSLVERSION_TLSv1_2});
    if (!post.ca_file.empty()) {
      set(handle, CURLOPT_CAINFO, post.ca_file.c_str());
      set(handle, CURLOPT_CAPATH, nullptr);
    }
    set(handle, CURLOPT_OPENSOCKETFUNCTION, &on_socket);
    set(handle, CURLOPT_OPENSOCKETDATA, this);
    // Bounds.
    set(handle, CURLOPT_CONNECTTIMEOUT_MS, long{limits.connect.count()});
    set(handle, CURLOPT_TIMEOUT_MS, long{limits.whole.count()});
    set(handle, CURLOPT_HEADERFUNCTION, &on_header);
    set(handle, CURLOPT_HEADERDATA, this);
    set(handle, CURLOPT_WRITEFUNCTION, &on_body);
    set(handle, CURLOPT_WRITEDATA, this);
    set(handle, CURLOPT_ERRORBUFFER, error.data());
    set(handle, CURLOPT_NOSIGNAL, 1L);
    set(handle, CURLOPT_QUICK_EXIT, 1L);  // a name that is being resolved keeps no thread
  }
};

WebhookSender::WebhookSender(Limits limits) : limits_(limits), curl_(std::make_unique<Curl>()) {
  PARKD_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl begins");
  curl_->multi = curl_multi_init();
  if (curl_->multi == nullptr) throw std::bad_alloc();
}

WebhookSender::~WebhookSender() {
  for (const auto& [handle, transfer] : open_) curl_multi_remove_handle(curl_->multi, handle);
  open_.clear();
  curl_multi_cleanup(curl_->multi);
  curl_global_cleanup();
}

void WebhookSender::begin(WebhookPost post) {
  auto transfer = std::make_unique<Transfer>();
  transfer->post = std::move(post);
  transfer->handle = curl_easy_init();
  if (transfer->handle == nullptr) throw std::bad_alloc();
  transfer->set_up(limits_);
  if (curl_multi_add_handle(curl_->multi, transfer->handle) != CURLM_OK) throw std::bad_alloc();
  open_.emplace(transfer->handle, std::move(transfer));
}

std::vector<WebhookAnswer> WebhookSender::wait(std::chrono::milliseconds longest) {
  std::vector<WebhookAnswer> answers;
  const auto collect = [&] {
    int n_running = 0;
    (void)curl_multi_perform(curl_->multi, &n_running);
    int n_left = 0;
    while (const CURLMsg* message = curl_multi_info_read(curl_->multi, &n_left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const auto found = open_.find(message->easy_handle);
      answers.push_back(answer_of(*found->second, message->data.result));
      curl_multi_remove_handle(curl_->multi, found->first);
      open_.erase(found);
    }
  };
  collect();
  if (!answers.empty()) return answers;
  (void)curl_multi_poll(curl_->multi, nullptr, 0, static_cast<int>(longest.count()), nullptr);
  collect();
  return answers;
}

void WebhookSender::wake() {
  (void)curl_multi_wakeup(curl_->multi);
}

// Who sent a status has answered, whatever becomes of the rest.
WebhookAnswer WebhookSender::answer_of(Transfer& transfer, int code) const {
  WebhookAnswer answer;
  answer.name = transfer.post.name;
  long status = 0;
  curl_easy_getinfo(transfer.handle, CURLINFO_RESPONSE_CODE, &status);
  if (status >= 200) {
    answer.status = static_cast<int>(status);
    curl_off_t seconds = 0;
    curl_easy_getinfo(transfer.handle, CURLINFO_RETRY_AFTER, &seconds);
    answer.retry_after = std::chrono::seconds(seconds);
    return answer;
  }
  answer.error = transfer.refused.empty() ? why(static_cast<CURLcode>(code), transfer.error.data())
                                          : transfer.refused;
  return answer;
}

}  // namespace parkd
