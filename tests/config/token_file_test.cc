// The file of daemon.tokens_file.
#include "lib/config/token_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

// SHA-256 of "abc" (FIPS 180-4, example).
const std::string kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const std::string kOther(64, '0');

std::string refusal(const std::string& text) {
  return parse_tokens(text, "t").status().message();
}

TEST(TokenFile, says_whose_token_is_whose_and_what_it_grants) {
  const auto table = parse_tokens(
      "# ours\n\nlab:" + kAbc + ":critical,requests=4  # night\r\n" + " other : " + kOther + "\n",
      "t");
  ASSERT_TRUE(table.ok()) << table.status().to_string();
  ASSERT_EQ(table->entries().size(), 2u);
  const TokenEntry* lab = table->find("abc");
  ASSERT_NE(lab, nullptr);
  EXPECT_EQ(lab->tenant, "lab");
  EXPECT_TRUE(lab->may_be_critical);
  EXPECT_EQ(lab->requests_max, 4);
  EXPECT_EQ(table->entries()[1].tenant, "other");
  EXPECT_FALSE(table->entries()[1].may_be_critical);
  EXPECT_EQ(table->entries()[1].requests_max, std::nullopt);
  for (const std::string& nobody :
       {std::string(""), std::string("abd"), std::string("abc "), kAbc}) {
    EXPECT_EQ(table->find(nobody), nullptr) << nobody;
  }
  EXPECT_EQ(TokenTable().find(""), nullptr);
}

TEST(TokenFile, a_line_that_is_written_reads_the_same) {
  for (const char* grants : {"", ":critical", ":requests=7", ":critical,requests=65536"}) {
    const std::string line = "lab:" + kAbc + grants;
    const auto table = parse_tokens(line, "t");
    ASSERT_TRUE(table.ok()) << table.status().to_string();
    EXPECT_EQ(token_line(table->entries()[0]), line);
  }
}

TEST(TokenFile, tokens_are_of_256_bits_and_found_again) {
  const std::string token = make_token();
  EXPECT_EQ(token.size(), 6u + 64u);
  EXPECT_NE(make_token(), token);
  TokenEntry entry;
  entry.tenant = "lab";
  entry.digest = digest_of(token);
  const auto table = parse_tokens(token_line(entry), "t");
  ASSERT_TRUE(table.ok()) << table.status().to_string();
  ASSERT_NE(table->find(token), nullptr);
  EXPECT_EQ(*table->find(token), entry);
}

TEST(TokenFile, what_is_wrong_is_named_with_its_line_and_never_shown) {
  const std::string secret = "parkd-0123456789";
  struct Case {
    std::string text;
    std::string part;
  };
  const Case cases[] = {
      {"\nlab", "t:2: tenant lab: what follows is not the SHA-256"},
      {"lab:" + secret, "looks like a token itself"},
      {secret + " x:" + kAbc, "t:1: what stands before the first ':' is not a tenant"},
      {"lab:" + kAbc.substr(1), "not the SHA-256"},
      {"lab:" + kAbc + "0", "not the SHA-256"},
      {"lab:g" + kAbc.substr(1), "not the SHA-256"},
      {"lab:+" + kAbc.substr(1), "not the SHA-256"},
      {":" + kAbc, "not a tenant"},
      {"lab:" + kAbc + ":root", "there are critical and requests=N"},
      {"lab:" + kAbc + ":critical,,requests=1", "there are critical and requests=N"},
      {"lab:" + kAbc + ":requests=0", "no whole number from 1 to 65536"},
      {"lab:" + kAbc + ":requests=65537", "no whole number from 1 to 65536"},
      {"lab:" + kAbc + ":requests=4x", "no whole number from 1 to 65536"},
      {"lab:" + kAbc + "\nother:" + kAbc, "t:2: this token stands further up already"},
      {std::string((1 << 20) + 1, '#'), "t: more than 1048576 bytes"},
  };
  for (const Case& each : cases) {
    EXPECT_TRUE(holds(refusal(each.text), each.part))
        << each.part << " is not in " << refusal(each.text);
    EXPECT_FALSE(holds(refusal(each.text), secret)) << refusal(each.text);
  }
}

TEST(TokenFile, a_file_that_others_may_read_or_change_is_refused_with_the_chmod) {
  const TempDir directory;
  const std::string path = directory.path() + "/tokens";
  const Status missing = load_tokens(path).status();
  EXPECT_TRUE(holds(missing.message(), "jobctl token new TENANT --file " + path))
      << missing.message();
  EXPECT_EQ(missing.param(), "daemon.tokens_file");
  std::ofstream(path) << "lab:" << kAbc << "\n";
  for (const mode_t mode : {0600, 0640, 0400}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_TRUE(load_tokens(path).ok()) << mode;
  }
  for (const mode_t mode : {0644, 0660, 0604, 0620, 0601}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    const Status refused = load_tokens(path).status();
    EXPECT_TRUE(holds(refused.message(), "chmod 0600 " + path)) << refused.message();
  }
  EXPECT_TRUE(holds(load_tokens(directory.path()).status().message(), "is not a file"));
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  std::ofstream(path) << "lab\n";
  EXPECT_TRUE(holds(load_tokens(path).status().message(), path + ":1: "));
}

}  // namespace
}  // namespace parkd
