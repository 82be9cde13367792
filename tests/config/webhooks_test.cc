// Where webhooks may be sent to, and what they are signed with.
#include "lib/config/webhooks.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <vector>

#include "lib/config/webhook_secret.h"
#include "lib/config/webhook_url.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

TEST(WebhookUrl, has_the_parts_that_are_connected_to) {
  struct Case {
    std::string text, scheme, host;
    int port;
    std::string path, query;
    bool is_loopback;
  };
  const std::vector<Case> cases = {
      {"https://example.org", "https", "example.org", 443, "/", "", false},
      {"https://example.org/", "https", "example.org", 443, "/", "", false},
      {"HTTPS://Hooks.Example.ORG:8443/A/b?c=D&e", "https", "hooks.example.org", 8443, "/A/b",
       "c=D&e", false},
      {"https://xn--bcher-kva.example/%C3%BC", "https", "xn--bcher-kva.example", 443, "/%C3%BC", "",
       false},
      {"https://[2001:db8::1]:444/x", "https", "[2001:db8::1]", 444, "/x", "", false},
      {"https://127.0.0.1/", "https", "127.0.0.1", 443, "/", "", true},
      {"http://127.0.0.1:80/", "http", "127.0.0.1", 80, "/", "", true},
      {"http://127.8.9.1:8080/x", "http", "127.8.9.1", 8080, "/x", "", true},
      {"http://[::1]:8080/x", "http", "[::1]", 8080, "/x", "", true},
      {"http://localhost:8080/x", "http", "localhost", 8080, "/x", "", true},
      {"https://example.org/a/...//b;c", "https", "example.org", 443, "/a/...//b;c", "", false},
      {"https://example.org/?next=https://a@b/../c", "https", "example.org", 443, "/",
       "next=https://a@b/../c", false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const auto url = read_webhook_url(c.text);
    ASSERT_TRUE(url.ok()) << url.status().to_string();
    EXPECT_EQ(url->scheme, c.scheme);
    EXPECT_EQ(url->host, c.host);
    EXPECT_EQ(url->port, c.port);
    EXPECT_EQ(url->path, c.path);
    EXPECT_EQ(url->query, c.query);
    EXPECT_EQ(url->is_loopback(), c.is_loopback);
    const auto again = read_webhook_url(url->text);
    ASSERT_TRUE(again.ok()) << again.status().to_string();
    EXPECT_EQ(*again, *url);
  }
}

TEST(WebhookUrl, what_is_none_or_means_more_than_it_says_is_refused) {
  struct Case {
    std::string text, why;
  };
  const std::vector<Case> cases = {
      {"", "is empty"},
      {"example.org/hooks", "is not an absolute URL"},
      {"/hooks", "is not an absolute URL"},
      {"https://", "is not an absolute URL"},
      {"https:///hooks", "is read as https://hooks/"},
      {"https:/example.org", "is read as https://example.org/"},
      {"ftp://example.org/", "is not of https"},
      {"file:///etc/passwd", "is not of https"},
      {"gopher://example.org/", "is not of https"},
      {"javascript:alert(1)", "is not an absolute URL"},
      {"http://example.org/", "is of http, which anybody"},
      {"http://10.0.0.1/", "is of http, which anybody"},
      {"http://localhost.example.org/", "is of http, which anybody"},
      {"http://127.0.0.1.example.org/", "is of http, which anybody"},
      {"https://user@example.org/", "has a user"},
      {"https://user:pass@example.org/", "has a user"},
      {"https://@example.org/", "has a user"},
      {"https://127.0.0.1@example.org/", "has a user"},
      {"https://example.org/#part", "has a fragment"},
      {"https://example.org/a b", "has a character at byte 21"},
      {"https://example.org/\n", "has a character at byte 20"},
      {"https://example.org/\r\nX: y", "has a character at byte 20"},
      {"https://example.org/\x7f", "has a character at byte 20"},
      {"https://ex\xc3\xa4mple.org/", "has a character at byte 10"},
      {"https://example.org\\@10.0.0.1/", "has a character at byte 19"},
      {"https://example.org/\"", "has a character at byte 20"},
      {"https://example.org/a/../b", "in its path"},
      {"https://example.org/a/..", "in its path"},
      {"https://example.org/./b", "in its path"},
      {"https://example.org/%2e%2e/b", "percent-encoded control character"},
      {"https://example.org/a%2Fb", "percent-encoded control character"},
      {"https://example.org/a%5cb", "percent-encoded control character"},
      {"https://example.org/a%252e", "percent-encoded control character"},
      {"https://example.org/a%00", "percent-encoded control character"},
      {"https://example.org/a%0d%0a", "percent-encoded control character"},
      {"https://example.org/a%", "without two hex digits"},
      {"https://example.org/a%4", "without two hex digits"},
      {"https://example.org/a%zz", "without two hex digits"},
      {"https://ex%61mple.org/", "is read as"},
      {"https://127.1/", "is read as https://127.0.0.1/"},
      {"https://0x7f000001/", "is read as https://127.0.0.1/"},
      {"https://2130706433/", "is read as https://127.0.0.1/"},
      {"https://0177.0.0.1/", "is read as https://127.0.0.1/"},
      {"https://example.org:/", "is read as https://example.org/"},
      {"https://example.org:0/", "has a port"},
      {"https://example.org:0443/", "is read as https://example.org:443/"},
      {"https://example.org:65536/", "is not an absolute URL"},
      {"https://example.org:8a/", "is not an absolute URL"},
      {"https://[fe80::1%25eth0]/", "percent-encoded"},
      {"https://[::1/", "is not an absolute URL"},
      {"https://ex_ample.org/", "neither a name nor an IP address"},
      {"https://a,b/", "is not an absolute URL"},
      {"https://example.org/" + std::string(kUrlBytesMax, 'a'), "bytes, the limit is 2048"},
  };
  for (const Case& c : cases) {
    const auto url = read_webhook_url(c.text);
    EXPECT_FALSE(url.ok()) << c.text << " is " << (url.ok() ? url->text : "");
    EXPECT_TRUE(holds(url.status().message(), c.why)) << c.text << ": " << url.status().message();
  }
  EXPECT_FALSE(read_webhook_url(std::string("https://a/\0b", 12)).ok());
}

TEST(WebhookUrl, a_prefix_covers_what_goes_on_behind_a_slash_of_it_on_the_very_host) {
  struct Case {
    std::string prefix, url;
    bool covered;
  };
  const std::vector<Case> cases = {
      {"https://a.org/hooks", "https://a.org/hooks", true},
      {"https://a.org/hooks", "https://a.org/hooks/1?x=y", true},
      {"https://a.org/hooks", "https://A.ORG/hooks?x", true},
      {"https://a.org/hooks", "https://a.org/hooks2", false},
      {"https://a.org/hooks", "https://a.org/Hooks", false},
      {"https://a.org/hooks", "https://a.org/", false},
      {"https://a.org/hooks/", "https://a.org/hooks/1", true},
      {"https://a.org/hooks/", "https://a.org/hooks", false},
      {"https://a.org", "https://a.org/anything", true},
      {"https://a.org", "https://a.org:443/anything", true},
      {"https://a.org", "https://a.org:444/anything", false},
      {"https://a.org", "https://b.a.org/", false},
      {"https://a.org", "https://a.org.b/", false},
      {"https://a.org", "https://a.org./", false},
      {"http://127.0.0.1:80/", "https://127.0.0.1:80/", false},
      {"http://localhost:80/", "http://127.0.0.1:80/", false},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(covers(read_webhook_url(c.prefix).value(), read_webhook_url(c.url).value()),
              c.covered)
        << c.prefix << " " << c.url;
  }
}

TEST(WebhookRules, a_tenant_may_give_what_is_listed_for_it_and_the_longest_prefix_counts) {
  const auto rule = [](const char* tenant, const char* prefix, const char* secret) {
    return WebhookConfig{tenant, read_webhook_url(prefix).value(), secret, false, ""};
  };
  const std::vector<WebhookConfig> rules = {rule("a", "https://a.org/", "1"),
                                            rule("a", "https://a.org/x/", "2"),
                                            rule("b", "https://a.org/x/y", "3")};
  EXPECT_EQ(webhook_of(rules, "a", "https://a.org/y").value()->secret_file, "1");
  EXPECT_EQ(webhook_of(rules, "a", "https://a.org/x/y").value()->secret_file, "2");
  EXPECT_EQ(webhook_of(rules, "b", "https://a.org/x/y").value()->secret_file, "3");
  const auto refusal = [](const std::vector<WebhookConfig>& listed, const char* tenant,
                          const char* url) {
    const Status status = webhook_of(listed, tenant, url).status();
    EXPECT_EQ(status.code(), StatusCode::invalid);
    EXPECT_EQ(status.param(), "webhook_url");
    return status.message();
  };
  EXPECT_EQ(refusal(rules, "b", "https://a.org/"),
            "webhook_url is none that tenant b may give: it must begin with https://a.org/x/y "
            "(daemon.webhooks, which the administrator lists)");
  EXPECT_TRUE(holds(refusal(rules, "c", "https://a.org/"), "may give: there is none"));
  EXPECT_TRUE(holds(refusal({}, "a", "https://a.org/"), "daemon.webhooks of its configuration is"));
  EXPECT_EQ(refusal(rules, "a", "ftp://a.org/"),
            "webhook_url is not of https: nothing else is sent to");
}

// Of Standard Webhooks' own libraries; python3's hmac says the same:
//   base64.b64encode(hmac.new(base64.b64decode(key), f"{id}.{time}.{body}".encode(), "sha256")
//                    .digest())
TEST(WebhookSecret, signs_as_standard_webhooks_has_it) {
  const auto one = parse_webhook_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "f");
  ASSERT_TRUE(one.ok()) << one.status().to_string();
  EXPECT_EQ(one->sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, R"({"test": 2432232314})"),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  const auto two = parse_webhook_secret(
      "# new\nwhsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n "
      "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw # old\r\n",
      "f");
  ASSERT_TRUE(two.ok()) << two.status().to_string();
  EXPECT_EQ(two->n_keys(), 2u);
  EXPECT_EQ(two->sign("msg_loFOjxBNrRLzqYUf", 1731705121,
                      R"({"event_type":"ping","data":{"success":true}})"),
            "v1,e15DzZpmxa+EKd0Z0UqevqoJ8wTL7KVwA8atSKPTZ5Y= "
            "v1,ra7kgjOCnSSR5URJ70WM3QMv18NGuuwnmtI2W0CEQ1c=");
}

TEST(WebhookSecret, what_is_wrong_is_named_with_its_line_and_never_shown) {
  const std::string of_24 = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  struct Case {
    std::string text, part;
  };
  const std::vector<Case> cases = {
      {"", "f has no key (printf"},
      {"# whsec_" + of_24, "f has no key"},
      {"\n" + of_24, "f:2: this is not a key"},
      {"whsec_", "f:1: what follows \"whsec_\" is not base64"},
      {"whsec_" + of_24 + "=", "is not base64"},
      {"whsec_" + of_24.substr(1), "is not base64"},
      {"whsec_" + of_24.substr(0, 31) + "!", "is not base64"},
      {"whsec_" + of_24.substr(0, 31) + "-", "is not base64"},
      {"whsec_ " + of_24.substr(1), "is not base64"},
      {"whsec_" + of_24.substr(0, 28) + "AAE=\nwhsec_AAAA", "f:1: the key has 23 bytes"},
      {"whsec_" + of_24.substr(0, 28) + "AAF=", "is not base64"},  // bits that mean nothing
      {"whsec_" + std::string(88, 'A'), "f:1: the key has 66 bytes, it must have 24 .. 64"},
      {"whsec_" + std::string(400, 'A'), "is not base64"},
      {std::string(20 << 10, '#'), "f: more than 16384 bytes"},
  };
  for (const Case& c : cases) {
    const Status status = parse_webhook_secret(c.text, "f").status();
    EXPECT_TRUE(holds(status.message(), c.part)) << c.text << ": " << status.message();
    EXPECT_FALSE(holds(status.message(), of_24.substr(1, 20))) << status.message();
  }
  std::string five;
  for (int i = 0; i < 5; ++i) five += "whsec_" + of_24 + "\n";
  EXPECT_TRUE(holds(parse_webhook_secret(five, "f").status().message(), "f:5: more than 4 keys"));
}

TEST(WebhookSecret, a_file_that_others_may_read_is_refused_with_its_key_and_the_chmod) {
  const TempDir dir;
  WebhookConfig rule{"a", read_webhook_url("https://a.org/").value(), dir.path() + "/s", false, ""};
  const auto status = [&] { return load_webhook_secrets({rule}).status(); };
  EXPECT_TRUE(holds(status().message(), "cannot be read: No such file")) << status().to_string();
  EXPECT_TRUE(holds(status().message(), "openssl rand -base64 32")) << status().to_string();
  std::ofstream(rule.secret_file) << "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
  ::chmod(rule.secret_file.c_str(), 0644);
  EXPECT_EQ(status().param(), "daemon.webhooks[0].secret_file");
  EXPECT_TRUE(holds(status().message(), "0644")) << status().to_string();
  EXPECT_TRUE(holds(status().message(), "chmod 0600 " + rule.secret_file)) << status().to_string();
  for (const mode_t mode : {0600, 0640, 0400}) {
    ::chmod(rule.secret_file.c_str(), mode);
    EXPECT_TRUE(status().ok()) << status().to_string();
  }
  EXPECT_EQ(load_webhook_secrets({rule, rule})->at(rule.secret_file).n_keys(), 1u);
}

}  // namespace
}  // namespace parkd
