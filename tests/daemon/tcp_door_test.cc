// What a request by TCP has to show.
#include "daemon/api/tcp_door.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "daemon/api/tenants.h"

namespace parkd {
namespace {

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

HttpRequest request_of(const std::string& host, const std::string& token) {
  HttpRequest request;
  request.method = "GET";
  request.host = host;
  request.token = token;
  request.who = tcp_peer("192.0.2.1");
  return request;
}

TokenEntry entry_of(const std::string& token, const std::string& tenant) {
  TokenEntry entry;
  entry.tenant = tenant;
  entry.digest = digest_of(token);
  return entry;
}

TokenTable table_of(const std::vector<TokenEntry>& entries) {
  std::string text;
  for (const TokenEntry& entry : entries) text += token_line(entry) + "\n";
  auto table = parse_tokens(text, "t");
  EXPECT_TRUE(table.ok()) << table.status().to_string();
  return *std::move(table);
}

TEST(TcpDoor, takes_a_host_that_is_an_ip_localhost_or_configured) {
  DaemonConfig config;
  config.host_names = {"gpu1.example"};
  const TcpDoor door(config);
  for (const char* ours : {"127.0.0.1", "127.0.0.1:8080", "192.0.2.1:1", "[::1]", "[::1]:8080",
                           "localhost", "LocalHost:80", "gpu1.example", "GPU1.example:443"}) {
    const auto refusal = door.refused_by_form(request_of(ours, ""), RouteBody::json);
    EXPECT_FALSE(refusal) << ours << " " << refusal->body;
  }
  for (const char* foreign :
       {"evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example",
        "[::1].evil.example", "[::1", "::1", "localhost:80x", "127.0.0.1:80:80", "user@localhost",
        "evil.example:80@127.0.0.1", "[localhost]", "gpu1.example.", "0x7f.1", "127.1"}) {
    const auto refusal = door.refused_by_form(request_of(foreign, ""), RouteBody::file);
    ASSERT_TRUE(refusal) << foreign;
    EXPECT_EQ(refusal->status, 421) << foreign;
    EXPECT_TRUE(holds(refusal->body, "daemon.host_names")) << refusal->body;
  }
  EXPECT_EQ(door.refused_by_form(request_of("", ""), RouteBody::json)->status, 400);
}

TEST(TcpDoor, takes_a_post_of_json_alone) {
  const DaemonConfig config;
  const TcpDoor door(config);
  HttpRequest request = request_of("127.0.0.1", "");
  request.method = "POST";
  for (const char* json : {"application/json", "Application/JSON; charset=utf-8",
                           "application/json ; charset=utf-8", "application/json;"}) {
    request.content_type = json;
    EXPECT_FALSE(door.refused_by_form(request, RouteBody::json)) << json;
  }
  request.content_type = "";
  EXPECT_FALSE(door.refused_by_form(request, std::nullopt)) << "404 and 405 say more";
  for (const char* other :
       {"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/jsonx", "text/plain; application/json", "application"}) {
    request.content_type = other;
    const auto refusal = door.refused_by_form(request, RouteBody::json);
    ASSERT_TRUE(refusal) << other;
    EXPECT_EQ(refusal->status, 415) << other;
    EXPECT_TRUE(holds(refusal->body, "curl -H 'Content-Type: application/json'")) << refusal->body;
  }
}

TEST(TcpDoor, takes_a_form_with_a_file_from_no_page_of_another_host) {
  const DaemonConfig config;
  const TcpDoor door(config);
  HttpRequest request = request_of("127.0.0.1:8080", "");
  request.method = "POST";
  request.content_type = "multipart/form-data; boundary=x";
  for (const char* ours : {"", "http://127.0.0.1:8080", "https://127.0.0.1:8080"}) {
    request.origin = ours;
    EXPECT_FALSE(door.refused_by_form(request, RouteBody::file)) << ours;
  }
  for (const char* foreign : {"null", "http://evil.example", "http://127.0.0.1", "127.0.0.1:8080",
                              "http://127.0.0.1:8080.evil.example", "http://localhost:8080"}) {
    request.origin = foreign;
    const auto refusal = door.refused_by_form(request, RouteBody::file);
    ASSERT_TRUE(refusal) << foreign;
    EXPECT_EQ(refusal->status, 403) << foreign;
    EXPECT_TRUE(holds(refusal->body, "Origin")) << refusal->body;
  }
}

TEST(TcpDoor, a_token_says_whose_request_it_is) {
  const DaemonConfig config;
  TcpDoor door(config);
  TokenEntry ops = entry_of("of ops", "ops");
  ops.may_be_critical = true;
  door.set_tokens(table_of({entry_of("of lab", "lab"), ops}));
  HttpAdmission lab;
  lab.who = tcp_peer("192.0.2.1");
  EXPECT_FALSE(door.identify(request_of("127.0.0.1", "of lab"), lab));
  EXPECT_EQ(lab.who.tenant, "lab");
  EXPECT_EQ(lab.who.account, "tenant lab");
  EXPECT_FALSE(lab.who.may_be_critical);
  EXPECT_FALSE(lab.who.is_privileged);
  HttpAdmission critical;
  critical.who = tcp_peer("192.0.2.1");
  EXPECT_FALSE(door.identify(request_of("127.0.0.1", "of ops"), critical));
  EXPECT_TRUE(critical.who.may_be_critical);
  // And nobody else's, by whatever header.
  DaemonConfig with_critical;
  with_critical.critical_tenants = {"lab"};
  Tenants tenants(with_critical);
  EXPECT_EQ(tenants.act_as(lab.who, "")->tenant, "lab");
  EXPECT_FALSE(tenants.act_as(lab.who, "")->may_be_critical) << "as the token grants";
  const auto refused = tenants.act_as(lab.who, "lab");
  EXPECT_EQ(refused.status().code(), StatusCode::denied);
  EXPECT_TRUE(holds(refused.status().message(), "X-Parkd-Tenant")) << refused.status().message();
}

TEST(TcpDoor, no_token_or_a_wrong_one_is_401_as_openai_says_it_and_counted) {
  const DaemonConfig config;
  TcpDoor door(config);
  door.set_tokens(table_of({entry_of("of lab", "lab")}));
  for (const std::string token : {"", "of nobody"}) {
    HttpAdmission admission;
    admission.who = tcp_peer("192.0.2.1");
    const auto refusal = door.identify(request_of("127.0.0.1", token), admission);
    ASSERT_TRUE(refusal) << token;
    EXPECT_EQ(refusal->status, 401);
    EXPECT_TRUE(holds(refusal->body, R"("code":"invalid_api_key")")) << refusal->body;
    EXPECT_TRUE(holds(refusal->body, R"("type":"invalid_request_error")")) << refusal->body;
    EXPECT_FALSE(holds(refusal->body, "of nobody")) << refusal->body;
    const std::pair<std::string, std::string> challenge{"WWW-Authenticate", "Bearer"};
    ASSERT_EQ(refusal->more.size(), 1u);
    EXPECT_EQ(refusal->more[0], challenge);
    EXPECT_TRUE(admission.who.tenant.empty());
  }
  EXPECT_EQ(door.figures().token_missing, 1);
  EXPECT_EQ(door.figures().token_unknown, 1);
}

TEST(TcpDoor, a_token_has_no_more_requests_in_flight_than_it_may) {
  const DaemonConfig config;
  TcpDoor door(config);
  TokenEntry lab = entry_of("of lab", "lab");
  lab.requests_max = 2;
  const std::vector<TokenEntry> entries = {lab, entry_of("of lab too", "lab")};
  door.set_tokens(table_of(entries));
  const auto ask = [&](const std::string& token, HttpAdmission& admission) {
    admission.who = tcp_peer("192.0.2.1");
    return door.identify(request_of("127.0.0.1", token), admission);
  };
  HttpAdmission held[2];
  for (HttpAdmission& one : held) ASSERT_FALSE(ask("of lab", one));
  door.set_tokens(table_of(entries));  // read again: what is in flight still counts
  HttpAdmission third;
  const auto refusal = ask("of lab", third);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->status, 429);
  EXPECT_FALSE(refusal->retry_after_s.empty());
  EXPECT_TRUE(holds(refusal->body, "has 2 requests in flight, its limit is 2")) << refusal->body;
  EXPECT_EQ(door.figures().over_limit, 1);
  HttpAdmission other;
  EXPECT_FALSE(ask("of lab too", other)) << "another token of the tenant";
  held[0].held.reset();
  EXPECT_FALSE(ask("of lab", third));
  for (HttpAdmission& one : held) one.held.reset();
  third.held.reset();
  door.set_tokens({});
  HttpAdmission late;
  EXPECT_EQ(ask("of lab", late)->status, 401) << "taken out of the file";
}

TEST(TcpDoor, where_all_are_one_tenants_no_token_is_asked_for) {
  DaemonConfig config;
  config.listen_tenant = "me";
  config.critical_tenants = {"me"};
  TcpDoor door(config);
  for (const std::string token : {"", "unused"}) {
    HttpAdmission admission;
    admission.who = tcp_peer("127.0.0.1");
    EXPECT_FALSE(door.identify(request_of("127.0.0.1", token), admission));
    EXPECT_EQ(admission.who.tenant, "me");
    EXPECT_FALSE(admission.who.may_be_critical);
  }
}

}  // namespace
}  // namespace parkd
