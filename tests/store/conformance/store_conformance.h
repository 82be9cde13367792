// The one suite every store passes. A store joins by INSTANTIATE_TEST_SUITE_P with its factory:
// StoreConformance for all, DurableStoreConformance for those that survive their process.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/store/job_store.h"
#include "lib/store/store_options.h"
#include "tests/support/store_driver.h"

namespace parkd {

// Where one test's store lives: reopening gives the same data with new claims.
class StoreHome {
 public:
  virtual ~StoreHome() = default;
  virtual std::unique_ptr<JobStore> open(const StoreOptions& options, Clock& clock) = 0;
  // Whether its tenants can have another weight than 1; then this one has it.
  virtual bool set_weight(const std::string& /*tenant*/, double /*weight*/) { return false; }
};

struct StoreFactory {
  std::string name;
  std::function<std::unique_ptr<StoreHome>()> make_home;
  // Sentences that cannot hold of it: test name -> why.
  std::map<std::string, std::string> exempt{};
};

class StoreConformance : public testing::TestWithParam<StoreFactory> {
 protected:
  static constexpr std::chrono::seconds kRetention{3600};

  void SetUp() override;
  void TearDown() override;

  void open();    // with options_
  void reopen();  // a clean stop and start

  // The value of a verb that has to succeed.
  template <class T>
  static T must(Result<T> result) {
    EXPECT_TRUE(result.ok()) << result.status().to_string();
    return std::move(result).value();
  }

  JobSpec spec(const std::string& model = "m") const;
  JobId submit_one(JobSpec spec);
  Job claim_one(const std::string& model = "m");
  FinishItem finish_item(const Job& job, const std::string& body = "{}") const;
  FinishAnswer finish_one(const Job& job, const std::string& body = "{}");
  std::vector<Message> messages(const std::string& key, const std::string& tenant = "default");
  JobRecord get(JobId id, const std::string& tenant = "");
  static Ending ending(const std::string& body);
  // Ends a claimed job in any outcome.
  void finish_as(const Job& job, Outcome outcome, const std::string& code = "",
                 const std::string& body = "{}", bool truncated = false);
  std::string open_one(BatchSpec spec = {});  // the id of a new batch
  JobSpec member(const std::string& batch_id) const;
  Batch batch(const std::string& id);  // as it is now
  void open_with_limits(std::optional<int64_t> queued, std::optional<int64_t> per_tenant = {},
                        int64_t scheduled = 10'000);
  JobSpec later(const std::string& tenant = "default");  // scheduled in an hour
  Status submitted(const JobSpec& spec, size_t n = 1);   // what submitting n of it is answered with

  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  StoreOptions options_;
  std::unique_ptr<StoreHome> home_;
  std::unique_ptr<JobStore> store_;
  std::unique_ptr<StoreDriver> driver_;
};

class DurableStoreConformance : public StoreConformance {};

inline std::string name_of_factory(const testing::TestParamInfo<StoreFactory>& info) {
  return info.param.name;
}

}  // namespace parkd
