// /v1/files at the door: forms in, files out. What a FileStore does of itself is tested in
// tests/store/files.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>

#include "lib/base/text.h"
#include "lib/store/file_store.h"
#include "tests/daemon/api_world.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::ApiWorld;
using testing::RawAnswer;
using testing::RawPeer;

constexpr const char* kForm = "Content-Type: multipart/form-data; boundary=b0und\r\n";

// A form of these fields, the file last; `filename` empty: it has none.
std::string form(const std::vector<std::pair<std::string, std::string>>& fields,
                 const std::string& filename, const std::string& bytes) {
  std::string text;
  for (const auto& [name, value] : fields) {
    text +=
        "--b0und\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n";
  }
  text += "--b0und\r\nContent-Disposition: form-data; name=\"file\"";
  if (!filename.empty()) text += "; filename=\"" + filename + "\"";
  return text + "\r\nContent-Type: application/octet-stream\r\n\r\n" + bytes + "\r\n--b0und--\r\n";
}

RawAnswer upload(RawPeer& peer, const std::string& body) {
  return peer.call("POST", "/v1/files", body, kForm);
}

json::object object_of(const RawAnswer& answer) {
  json::error_code error;
  const json::value value = json::parse(answer.body, error);
  EXPECT_FALSE(error) << answer.body;
  return value.is_object() ? value.get_object() : json::object();
}

std::string id_of(const RawAnswer& answer) {
  EXPECT_EQ(answer.status, 200) << answer.body;
  const json::object file = object_of(answer);
  const json::value* id = file.if_contains("id");
  return id == nullptr ? "" : std::string(id->as_string());
}

std::string error_of(const RawAnswer& answer, const char* field) {
  const json::value value = object_of(answer).at("error").at(field);
  return value.is_string() ? std::string(value.get_string()) : "";
}

int n_on_disk(const ApiWorld& world) {
  int n = 0;
  for (const auto& entry : fs::recursive_directory_iterator(world.files_dir())) {
    n += entry.path().filename().string().substr(0, 5) == "file-" ? 1 : 0;
  }
  return n;
}

TEST(Files, come_back_as_they_were_uploaded) {
  ApiWorld world;
  RawPeer peer = world.peer();
  const std::string bytes = "{\"custom_id\":\"1\"}\n\r\n--b0un\n";
  const RawAnswer created = upload(peer, form({{"purpose", "batch"}}, "in.jsonl", bytes));
  const std::string id = id_of(created);
  const json::object file = object_of(created);
  EXPECT_EQ(file.at("object").as_string(), "file");
  EXPECT_EQ(file.at("bytes").as_int64(), static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(file.at("filename").as_string(), "in.jsonl");
  EXPECT_EQ(file.at("purpose").as_string(), "batch");
  EXPECT_EQ(file.at("status").as_string(), "processed");
  EXPECT_EQ(file.at("expires_at").as_int64() - file.at("created_at").as_int64(), 30 * 24 * 3600);
  EXPECT_EQ(peer.call("GET", "/v1/files/" + id).body, created.body);

  const RawAnswer content = peer.call("GET", "/v1/files/" + id + "/content");
  EXPECT_EQ(content.status, 200);
  EXPECT_EQ(content.body, bytes);
  const RawAnswer head = peer.call("HEAD", "/v1/files/" + id + "/content");
  EXPECT_NE(head.head.find("Content-Length: " + std::to_string(bytes.size())), std::string::npos)
      << head.head;

  const RawAnswer deleted = peer.call("DELETE", "/v1/files/" + id);
  EXPECT_EQ(deleted.body, R"({"id":")" + id + R"(","object":"file","deleted":true})");
  EXPECT_EQ(peer.call("GET", "/v1/files/" + id).status, 404);
  EXPECT_EQ(peer.call("GET", "/v1/files/" + id + "/content").status, 404);
  EXPECT_EQ(peer.call("DELETE", "/v1/files/" + id).status, 404);
  EXPECT_EQ(n_on_disk(world), 0);
}

TEST(Files, of_many_pieces_come_back_whole_and_in_ranges) {
  ApiWorld world;
  RawPeer peer = world.peer();
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  std::string bytes(3 * kFilePieceBytes + 12'345, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  // The purpose behind the file: curl sends fields in the order in which they are given.
  std::string body = form({}, "in.jsonl", bytes);
  body.resize(body.size() - std::string("--\r\n").size());
  body += "\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b0und--\r\n";
  const std::string id = id_of(upload(peer, body));
  const std::string target = "/v1/files/" + id + "/content";
  EXPECT_TRUE(peer.call("GET", target).body == bytes);
  for (int i = 0; i < 30; ++i) {
    const size_t from = random() % bytes.size();
    const size_t last = from + random() % (bytes.size() - from);
    const std::string range = std::to_string(from) + "-" + std::to_string(last);
    const RawAnswer part = peer.call("GET", target, "", "Range: bytes=" + range + "\r\n");
    EXPECT_EQ(part.status, 206) << range;
    EXPECT_TRUE(part.body == bytes.substr(from, last - from + 1)) << range;
    EXPECT_NE(part.head.find("Content-Range: bytes " + range + "/" + std::to_string(bytes.size())),
              std::string::npos)
        << part.head;
  }
  const RawAnswer beyond =
      peer.call("GET", target, "", "Range: bytes=" + std::to_string(bytes.size()) + "-\r\n");
  EXPECT_EQ(beyond.status, 416);
  EXPECT_NE(beyond.head.find("Content-Range: bytes */" + std::to_string(bytes.size())),
            std::string::npos)
      << beyond.head;
}

TEST(Files, are_listed_as_openai_lists_them) {
  ApiWorld world;
  RawPeer peer = world.peer();
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(id_of(upload(peer, form({{"purpose", "batch"}}, "in.jsonl", "x"))));
  }
  const json::object all = object_of(peer.call("GET", "/v1/files?order=asc"));
  EXPECT_EQ(all.at("object").as_string(), "list");
  EXPECT_EQ(all.at("data").as_array().size(), 3u);
  EXPECT_EQ(all.at("has_more").as_bool(), false);
  EXPECT_EQ(all.at("first_id").as_string(), ids.front());
  EXPECT_EQ(all.at("last_id").as_string(), ids.back());
  const json::object page = object_of(peer.call("GET", "/v1/files?limit=2"));
  EXPECT_EQ(page.at("has_more").as_bool(), true);
  EXPECT_EQ(page.at("last_id").as_string(), ids[1]);
  const json::object rest = object_of(peer.call("GET", "/v1/files?limit=2&after=" + ids[1]));
  EXPECT_EQ(rest.at("has_more").as_bool(), false);
  EXPECT_EQ(rest.at("first_id").as_string(), ids[0]);
  EXPECT_EQ(error_of(peer.call("GET", "/v1/files?limit=0"), "param"), "limit");
  EXPECT_EQ(error_of(peer.call("GET", "/v1/files?limit=10001"), "param"), "limit");
  EXPECT_EQ(error_of(peer.call("GET", "/v1/files?order=up"), "param"), "order");
  EXPECT_EQ(error_of(peer.call("GET", "/v1/files?after=file-x"), "param"), "after");
  EXPECT_EQ(object_of(peer.call("GET", "/v1/files?purpose=vision")).at("data").as_array().size(),
            0u);
}

TEST(Files, a_form_that_is_not_right_is_refused_by_field_and_leaves_nothing) {
  ApiWorld world;
  const std::pair<std::string, std::string> purpose{"purpose", "batch"};
  const struct {
    std::string body;
    std::string param;
    std::string says;
  } bad[] = {
      {form({}, "in.jsonl", "x"), "purpose", "purpose is missing"},
      {form({{"purpose", "fine-tune"}}, "in.jsonl", "x"), "purpose", "fine-tune"},
      {form({purpose, purpose}, "in.jsonl", "x"), "purpose", "twice"},
      {form({purpose}, "", "x"), "file", "filename"},
      {form({purpose}, "in.csv", "x"), "file", ".jsonl"},
      {form({purpose, {"colour", "red"}}, "in.jsonl", "x"), "colour", "no form field colour"},
      {form({{"purpose", std::string(2000, 'p')}}, "in.jsonl", "x"), "purpose", "1024 bytes"},
      {form({purpose, {"expires_after[seconds]", "7200"}}, "in.jsonl", "x"), "expires_after",
       "created_at"},
      {form({purpose, {"expires_after[anchor]", "created_at"}}, "in.jsonl", "x"), "expires_after",
       "whole number"},
      {form({purpose, {"expires_after[anchor]", "created_at"}, {"expires_after[seconds]", "3599"}},
            "in.jsonl", "x"),
       "expires_after", "3600"},
      {"--b0und\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b0und--\r\n",
       "file", "no field file"},
      {form({purpose}, "in.jsonl", "x").substr(0, 150), "", "boundary"},
      {"not a form", "", "boundary"},
  };
  for (const auto& [body, param, says] : bad) {
    RawPeer peer = world.peer();
    const RawAnswer answer = upload(peer, body);
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(error_of(answer, "param"), param) << answer.body;
    EXPECT_NE(error_of(answer, "message").find(says), std::string::npos) << answer.body;
  }
  RawPeer peer = world.peer();
  EXPECT_EQ(peer.call("POST", "/v1/files", "{}", "Content-Type: application/json\r\n").status, 400);
  RawPeer bare = world.peer();
  EXPECT_EQ(bare.call("POST", "/v1/files", "x").status, 400);
  RawPeer last = world.peer();
  const std::string id = id_of(upload(
      last,
      form({purpose, {"expires_after[anchor]", "created_at"}, {"expires_after[seconds]", "3600"}},
           "in.jsonl", "x")));
  while (n_on_disk(world) > 1) std::this_thread::yield();
  EXPECT_EQ(object_of(last.call("GET", "/v1/files")).at("data").as_array().size(), 1u);
  EXPECT_EQ(object_of(last.call("GET", "/v1/files/" + id)).at("expires_at").as_int64() -
                object_of(last.call("GET", "/v1/files/" + id)).at("created_at").as_int64(),
            3600);
}

// Nobody sends 200 MB to be told of a name.
TEST(Files, what_is_known_to_be_wrong_is_refused_before_the_bytes_come) {
  ApiWorld world;
  for (const char* name : {"in.csv", "in.jsonl"}) {
    const std::string filename(name);
    const std::string purpose = filename == "in.csv" ? "batch" : "vision";
    const std::string request = RawPeer::request(
        "POST", "/v1/files", form({{"purpose", purpose}}, filename, std::string(5'000'000, 'x')),
        kForm);
    RawPeer peer = world.peer();
    ASSERT_TRUE(peer.send(request.substr(0, 70'000)));
    const RawAnswer answer = peer.read();
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(error_of(answer, "param"), filename == "in.csv" ? "file" : "purpose") << answer.body;
  }
  EXPECT_EQ(n_on_disk(world), 0);
}

TEST(Files, too_large_is_413_and_leaves_nothing) {
  testing::ApiWorldOptions options;
  options.files.max_file_mb = 1;
  ApiWorld world(options);
  const std::string fits(kFilePieceBytes, 'x');
  RawPeer peer = world.peer();
  EXPECT_EQ(upload(peer, form({{"purpose", "batch"}}, "in.jsonl", fits)).status, 200);
  const RawAnswer by_store = upload(peer, form({{"purpose", "batch"}}, "in.jsonl", fits + "y"));
  EXPECT_EQ(by_store.status, 413) << by_store.body;
  EXPECT_NE(error_of(by_store, "message").find("1048576"), std::string::npos) << by_store.body;
  EXPECT_EQ(error_of(by_store, "code"), "file_too_large");
  RawPeer other = world.peer();
  const RawAnswer by_length =
      upload(other, form({{"purpose", "batch"}}, "in.jsonl", fits + std::string(65 << 10, 'y')));
  EXPECT_EQ(by_length.status, 413) << by_length.body;
  EXPECT_NE(error_of(by_length, "message").find("daemon.files.max_file_mb"), std::string::npos);
  while (n_on_disk(world) > 1) std::this_thread::yield();
}

TEST(Files, an_upload_that_is_cut_off_leaves_nothing) {
  ApiWorld world;
  const std::string body =
      form({{"purpose", "batch"}}, "in.jsonl", std::string(3 * kFilePieceBytes, 'x'));
  {
    RawPeer peer = world.peer();
    const std::string request = RawPeer::request("POST", "/v1/files", body, kForm);
    ASSERT_TRUE(peer.send(request.substr(0, request.size() - kFilePieceBytes)));
    while (n_on_disk(world) == 0) std::this_thread::yield();
  }
  while (n_on_disk(world) > 0) std::this_thread::yield();
  RawPeer peer = world.peer();
  EXPECT_EQ(object_of(peer.call("GET", "/v1/files")).at("data").as_array().size(), 0u);
  EXPECT_EQ(world.parsing().used_bytes, 0u);
}

TEST(Files, a_tenants_uploads_at_a_time_are_bounded) {
  testing::ApiWorldOptions options;
  options.files.max_uploads = 1;
  ApiWorld world(options);
  const std::string request =
      RawPeer::request("POST", "/v1/files",
                       form({{"purpose", "batch"}}, "in.jsonl", std::string(70'000, 'x')), kForm);
  RawPeer first = world.peer();
  ASSERT_TRUE(first.send(request.substr(0, 69'000)));
  while (n_on_disk(world) == 0) std::this_thread::yield();
  RawPeer second = world.peer();
  const RawAnswer refused = upload(second, form({{"purpose", "batch"}}, "in.jsonl", "x"));
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_NE(refused.head.find("Retry-After"), std::string::npos);
  EXPECT_NE(error_of(refused, "message").find("daemon.files.max_uploads"), std::string::npos);
  ASSERT_TRUE(first.send(request.substr(69'000)));
  EXPECT_EQ(first.read().status, 200);
}

TEST(Files, damaged_bytes_are_never_sent) {
  ApiWorld world;
  RawPeer peer = world.peer();
  const std::string bytes(2 * kFilePieceBytes, 'x');
  const std::string id = id_of(upload(peer, form({{"purpose", "batch"}}, "in.jsonl", bytes)));
  {
    std::fstream file(world.files_dir() + "/" + id, std::ios::in | std::ios::out);
    file.seekp(kFilePieceBytes + 5);
    file.put('y');
  }
  RawPeer reader = world.peer();
  ASSERT_TRUE(reader.send(RawPeer::request("GET", "/v1/files/" + id + "/content")));
  EXPECT_EQ(reader.read_head().head.substr(0, 12), "HTTP/1.1 200");
  std::string came;
  for (std::string some = reader.read_some(); !some.empty(); some = reader.read_some()) {
    came += some;
  }
  EXPECT_TRUE(came == bytes.substr(0, kFilePieceBytes)) << came.size() << " bytes came";
}

TEST(Files, a_queue_in_memory_keeps_none_and_says_so) {
  testing::ApiWorldOptions options;
  options.has_files = false;
  ApiWorld world(options);
  for (const char* target : {"/v1/files", "/v1/files/file-1", "/v1/files/file-1/content"}) {
    RawPeer peer = world.peer();
    const RawAnswer answer = peer.call("GET", target);
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_NE(answer.body.find("in memory"), std::string::npos) << answer.body;
  }
  RawPeer peer = world.peer();
  EXPECT_EQ(upload(peer, form({{"purpose", "batch"}}, "in.jsonl", "x")).status, 400);
}

}  // namespace
}  // namespace parkd
