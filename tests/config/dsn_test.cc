// The configuration's own reading of a connection string sees every password that libpq sees.
#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <random>
#include <string>
#include <vector>

#include "lib/config/dsn_text.h"
#include "lib/store/postgres/dsn.h"

namespace parkd {
namespace {

std::string random_dsn(std::mt19937_64& random) {
  static const std::vector<std::string> kPieces = {"postgresql://",
                                                   "postgres://",
                                                   "user",
                                                   "password",
                                                   "PASSWORD",
                                                   "host",
                                                   "dbname",
                                                   "=",
                                                   "=",
                                                   " ",
                                                   "  ",
                                                   "'",
                                                   "\\",
                                                   ":",
                                                   "@",
                                                   "/",
                                                   "?",
                                                   "&",
                                                   "%70",
                                                   "%",
                                                   "p",
                                                   "assword",
                                                   "db1",
                                                   "5432",
                                                   "\t",
                                                   "[::1]",
                                                   ",",
                                                   "x y",
                                                   "sslpassword",
                                                   "''",
                                                   "\\'",
                                                   "#"};
  std::string text;
  if (random() % 3 == 0) text = random() % 2 == 0 ? "postgresql://" : "postgres://";
  const size_t n = 1 + random() % 12;
  for (size_t i = 0; i < n; ++i) text += kPieces[random() % kPieces.size()];
  return text;
}

TEST(Dsn, no_password_that_libpq_reads_passes_the_configuration) {
  const uint64_t seed = std::random_device{}();
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  int n_with_password = 0;
  for (int i = 0; i < 200'000; ++i) {
    const std::string dsn = random_dsn(random);
    const auto libpq = parse_dsn(dsn);
    if (!libpq.ok() || !libpq->has_password) continue;
    ++n_with_password;
    ASSERT_NE(dsn_refusal(dsn), "") << "seed " << seed << ": " << dsn;
  }
  EXPECT_GT(n_with_password, 100) << "the test looked at too few, seed " << seed;
}

TEST(Dsn, a_keyword_that_libpq_does_not_know_is_refused_and_not_shown) {
  for (const char* dsn : {"host=db1 pasword=sesame", "postgresql://u@db1/d?passwrod=sesame",
                          "host=db1 Password=sesame", "host=db1 pwd=sesame", "hots=sesame",
                          "host=db1 options=a sesame=b", "postgresql://db1/d?sesame=1"}) {
    const std::string why = dsn_refusal(dsn);
    EXPECT_NE(why, "") << dsn;
    EXPECT_EQ(why.find("sesame"), std::string::npos) << dsn << ": " << why;
  }
  EXPECT_EQ(dsn_refusal("host=db1 sslmod=x"),
            "its keyword no. 2 is none that libpq knows; did you mean sslmode?");
  EXPECT_NE(dsn_refusal("host=db1 pasword=x").find("holds a password"), std::string::npos);
}

// The linked library's own list: none of its keywords is refused for being unknown.
TEST(Dsn, every_keyword_of_libpq_is_known) {
  PQconninfoOption* const options = PQconndefaults();
  ASSERT_NE(options, nullptr);
  for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
    const std::string why = dsn_refusal(std::string(option->keyword) + "=1");
    EXPECT_EQ(why.find("none that libpq knows"), std::string::npos) << option->keyword << why;
  }
  PQconninfoFree(options);
}

}  // namespace
}  // namespace parkd
