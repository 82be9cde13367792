// A daemon's life: starting, loading, draining, stopping, dying.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "lib/base/thread.h"
#include "tests/e2e/child_process.h"
#include "tests/e2e/jobs.h"

namespace parkd::testing {
namespace {

constexpr auto kPatience = std::chrono::seconds(280);

// Runs for seconds, also on the tiny model: many steps of many sequences.
json::object long_job(const std::string& key) {
  json::object job = chat_job(key, 8000);
  job["body"].as_object()["n"] = 8;
  return job;
}

// A model file that is no model, and whose opening waits until let_go(): this process has a write
// lease on it (fcntl(2)), which the kernel breaks after /proc/sys/fs/lease-break-time, 45 s.
class SlowModelFile {
 public:
  explicit SlowModelFile(const std::string& path) {
    ::signal(SIGIO, SIG_IGN);  // sent when somebody opens it
    std::ofstream(path) << "no model";
    fd_ = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_EQ(::fcntl(fd_, F_SETLEASE, F_WRLCK), 0) << std::strerror(errno);
  }
  ~SlowModelFile() { let_go(); }
  SlowModelFile(const SlowModelFile&) = delete;
  SlowModelFile& operator=(const SlowModelFile&) = delete;

  void let_go() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

DaemonSetup long_running() {
  DaemonSetup setup;
  setup.max_num_seqs = 8;
  setup.context_tokens = 8192;
  setup.drain_timeout_s = 1000;
  return setup;
}

void wait_until_running(DaemonProcess& daemon) {
  const auto client = daemon.client();
  ASSERT_TRUE(daemon.wait_until([&] {
    const HttpAnswer pool = must(client->get("/v1/pool"));
    return number_at(find(pool.json, "models")->get_array().at(0), "running") > 0;
  })) << daemon.log();
}

bool ended_with(DaemonProcess& daemon, int exit_code) {
  const auto end = daemon.wait_for_end(kPatience);
  return end && WIFEXITED(*end) && WEXITSTATUS(*end) == exit_code;
}

TEST(Life, a_hangup_ends_no_daemon_that_has_nothing_to_read_again) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.signal(SIGHUP);
  EXPECT_TRUE(daemon.wait_until([&] {
    return daemon.log().find("daemon.nothing_to_read_again") != std::string::npos;
  })) << daemon.log();
  EXPECT_EQ(must(daemon.client()->get("/healthz")).status, 200);
}

TEST(Life, a_state_directory_that_is_gone_is_noticed_and_nothing_more_is_accepted) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const auto client = daemon.client();
  const std::string state = daemon.directory() + "/state";
  const std::string aside = daemon.directory() + "/state.aside";
  ASSERT_EQ(::rename(state.c_str(), aside.c_str()), 0);
  const auto ready = [&] { return must(client->get("/readyz")).status; };
  ASSERT_TRUE(daemon.wait_until([&] { return ready() == 503; })) << daemon.log();
  const HttpAnswer refused = must(client->post("/v1/jobs", chat_job("k")));
  EXPECT_EQ(refused.status, 503);
  EXPECT_NE(refused.text.find("parkd.lock is gone"), std::string::npos) << refused.text;
  EXPECT_NE(must(client->get("/metrics")).text.find("parkd_notice{code=\"state_dir_gone\"} 1"),
            std::string::npos);
  EXPECT_NE(daemon.log().find("health.notice code=state_dir_gone"), std::string::npos);
  ASSERT_EQ(::rename(aside.c_str(), state.c_str()), 0);
  EXPECT_TRUE(daemon.wait_until([&] { return ready() == 200; })) << "put back: " << daemon.log();
}

TEST(Life, a_removed_socket_is_made_again_and_open_connections_go_on) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const auto before = daemon.client();
  ASSERT_EQ(must(before->get("/healthz")).status, 200);
  struct stat first {};
  ASSERT_EQ(::stat(daemon.socket().c_str(), &first), 0);
  for (int round = 1; round <= 3; ++round) {
    ASSERT_EQ(::unlink(daemon.socket().c_str()), 0);
    ASSERT_TRUE(daemon.wait_until([&] {
      const auto answer = daemon.client()->get("/healthz");
      return answer.ok() && answer->status == 200;
    })) << daemon.log();
    struct stat now {};
    ASSERT_EQ(::stat(daemon.socket().c_str(), &now), 0);
    EXPECT_EQ(now.st_mode, first.st_mode);
    EXPECT_EQ(now.st_gid, first.st_gid);
    EXPECT_EQ(must(before->get("/healthz")).status, 200) << "round " << round;
  }
  EXPECT_NE(daemon.log().find("api.socket_made_again"), std::string::npos) << daemon.log();
  ASSERT_EQ(::chmod(daemon.socket().c_str(), 0600), 0);
  daemon.signal(SIGTERM);
  EXPECT_TRUE(ended_with(daemon, 0)) << daemon.log();
  EXPECT_NE(::access(daemon.socket().c_str(), F_OK), 0) << "a stopped daemon leaves no socket";
}

// Listens where a daemon's socket was.
class OtherListener {
 public:
  explicit OtherListener(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_, 5), 0);
  }
  ~OtherListener() { ::close(fd_); }
  OtherListener(const OtherListener&) = delete;
  OtherListener& operator=(const OtherListener&) = delete;

 private:
  int fd_;
};

TEST(Life, what_others_put_in_the_sockets_place_stays_theirs) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const auto client = daemon.client();
  ASSERT_EQ(must(client->get("/healthz")).status, 200) << "connects";
  const std::string aside = daemon.socket() + ".new";
  const auto noticed = [&](const std::string& words) {
    return daemon.wait_until(
        [&] { return must(client->get("/readyz")).text.find(words) != std::string::npos; });
  };
  const auto served_again = [&] {
    return daemon.wait_until([&] {
      const auto answer = daemon.client()->get("/healthz");
      return answer.ok() && answer->status == 200;
    }) && must(client->get("/readyz")).text.find("socket_gone") == std::string::npos;
  };
  {
    const OtherListener other(aside);
    ASSERT_EQ(::rename(aside.c_str(), daemon.socket().c_str()), 0);
    EXPECT_TRUE(noticed("belongs to another process now"));
    EXPECT_EQ(must(client->get("/readyz")).status, 200) << "jobs go on";
  }
  EXPECT_TRUE(served_again()) << "nobody listens there any more";
  std::fclose(std::fopen(aside.c_str(), "w"));
  ASSERT_EQ(::rename(aside.c_str(), daemon.socket().c_str()), 0);
  EXPECT_TRUE(noticed("is not a socket any more"));
  ASSERT_EQ(::unlink(daemon.socket().c_str()), 0);
  EXPECT_TRUE(served_again());
}

TEST(Life, a_socket_that_another_process_serves_is_not_taken_at_start) {
  DaemonProcess daemon(DaemonSetup{});
  std::optional<OtherListener> other(daemon.socket());
  ChildProcess refused({PARKD_BINARY, "--config", daemon.config_path()});
  EXPECT_EQ(refused.wait(), 1);
  EXPECT_NE(refused.err().find("another process listens on daemon.socket"), std::string::npos)
      << refused.err();
  other.reset();
  EXPECT_TRUE(daemon.start()) << "the dead socket is replaced: " << daemon.log();
}

TEST(Life, a_stopping_daemon_answers_503_and_finishes_what_runs) {
  DaemonProcess daemon(long_running());
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  const auto client = daemon.client();
  const int64_t id = submit(*client, long_job("long"));
  wait_until_running(daemon);
  daemon.signal(SIGTERM);
  // The signal is handled when readiness says so; the long job keeps the daemon here till then.
  HttpAnswer ready;
  do {
    ready = must(client->get("/readyz"));
  } while (ready.status == 200);
  EXPECT_EQ(ready.status, 503);
  EXPECT_TRUE(flag_at(ready.json, "stopping")) << ready.text;
  const HttpAnswer refused = must(client->post("/v1/jobs", chat_job("late")));
  EXPECT_EQ(refused.status, 503) << refused.text;
  EXPECT_NE(text_at(refused.json, "error.message").find("stopping"), std::string::npos);
  EXPECT_TRUE(ended_with(daemon, 0)) << daemon.log();

  ASSERT_TRUE(daemon.start());
  const HttpAnswer job = must(daemon.client()->get("/v1/jobs/" + std::to_string(id)));
  EXPECT_EQ(text_at(job.json, "outcome"), "completed") << job.text;
}

TEST(Life, a_second_signal_stops_at_once_and_loses_nothing) {
  DaemonProcess daemon(long_running());
  ASSERT_TRUE(daemon.start());
  daemon.wait_for_model();
  const auto client = daemon.client();
  const int64_t id = submit(*client, long_job("long"));
  wait_until_running(daemon);
  daemon.signal(SIGTERM);
  while (must(client->get("/readyz")).status == 200) {
  }
  daemon.signal(SIGTERM);
  EXPECT_TRUE(ended_with(daemon, 0)) << daemon.log();

  ASSERT_TRUE(daemon.start());
  const HttpAnswer job = must(daemon.client()->get("/v1/jobs/" + std::to_string(id)));
  EXPECT_EQ(find(job.json, "outcome"), nullptr) << "the job had ended before the second signal";
  EXPECT_EQ(number_at(job.json, "attempts"), 0) << "stopping spends no attempt: " << job.text;
  const json::array messages = wait_for_messages(*daemon.client(), "long", 1);
  EXPECT_EQ(text_at(messages[0], "outcome"), "completed");
}

TEST(Life, a_waiting_reader_is_answered_when_the_daemon_stops) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start());
  std::optional<HttpAnswer> page;
  Thread reader({"reader", 0},
                [&] { page = must(daemon.client()->get("/v1/mailbox/empty?wait_s=60")); });
  ::usleep(100'000);  // most likely it waits by now; if not, it is answered at once all the same
  daemon.signal(SIGTERM);
  EXPECT_TRUE(ended_with(daemon, 0)) << daemon.log();
  reader.join();
}

TEST(Life, an_accepted_job_survives_kill_9_and_runs_after_the_restart) {
  DaemonProcess daemon(long_running());
  ASSERT_TRUE(daemon.start());
  const auto client = daemon.client();
  const int64_t running = submit(*client, long_job("kept"));
  const int64_t waiting = submit(*client, chat_job("kept", 3));
  daemon.kill();
  ASSERT_TRUE(daemon.start()) << "the dead daemon's socket and lock are in the way";
  std::set<int64_t> ids;
  for (const json::value& message : wait_for_messages(*daemon.client(), "kept", 2)) {
    EXPECT_EQ(text_at(message, "outcome"), "completed");
    ids.insert(number_at(message, "id"));
  }
  EXPECT_EQ(ids, (std::set<int64_t>{running, waiting}));
}

TEST(Life, a_job_of_several_prompts_that_was_killed_gives_the_choices_it_would_have_given) {
  DaemonProcess daemon(long_running());
  ASSERT_TRUE(daemon.start());
  json::object job;
  job["endpoint"] = "/v1/completions";
  job["mailbox_key"] = "several";
  job["body"] = json::object{{"prompt", {"one", "two", "three"}},
                             {"n", 2},
                             {"max_tokens", 600},
                             {"seed", 5},
                             {"logit_bias", {{"2", -100}}}};  // no early end
  submit(*daemon.client(), job);
  wait_until_running(daemon);
  daemon.kill();
  ASSERT_TRUE(daemon.start());
  const json::array killed = wait_for_messages(*daemon.client(), "several", 1);
  job["mailbox_key"] = "again";
  submit(*daemon.client(), job);
  const json::array whole = wait_for_messages(*daemon.client(), "again", 1);
  const json::value* choices = find(killed.at(0), "response.body.choices");
  ASSERT_NE(choices, nullptr) << json::serialize(killed.at(0));
  EXPECT_EQ(choices->as_array().size(), 6u);
  EXPECT_EQ(*choices, *find(whole.at(0), "response.body.choices"));
}

TEST(Life, a_second_daemon_on_the_same_state_directory_is_refused) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start());
  ChildProcess second({PARKD_BINARY, "--config", daemon.config_path()});
  EXPECT_EQ(second.wait(), 1);
  EXPECT_NE(second.err().find("state"), std::string::npos) << second.err();
  EXPECT_EQ(must(daemon.client()->get("/healthz")).status, 200) << "the first one lost its socket";
}

TEST(Life, a_wrong_configuration_is_refused_with_its_place) {
  TempDir directory;
  const std::string path = directory.path() + "/bad.yaml";
  std::FILE* file = std::fopen(path.c_str(), "w");
  std::fputs("daemon:\n  drain_timeout_s: soon\n", file);
  std::fclose(file);
  ChildProcess daemon({PARKD_BINARY, "--config", path});
  EXPECT_EQ(daemon.wait(), 2);
  EXPECT_NE(daemon.err().find("bad.yaml:2:"), std::string::npos) << daemon.err();
  ChildProcess none({PARKD_BINARY, "--config", directory.path() + "/none.yaml"});
  EXPECT_EQ(none.wait(), 2);
}

TEST(Life, the_configuration_can_be_checked_and_printed) {
  DaemonProcess daemon(DaemonSetup{});
  ChildProcess check({PARKD_BINARY, "--config", daemon.config_path(), "--check-config"});
  EXPECT_EQ(check.wait(), 0) << check.err();
  ChildProcess print({PARKD_BINARY, "--config", daemon.config_path(), "--print-config"});
  EXPECT_EQ(print.wait(), 0);
  EXPECT_NE(print.out().find("max_num_seqs: 2"), std::string::npos) << print.out();
}

TEST(Life, a_configuration_whose_model_is_not_there_or_does_not_fit_is_not_sound) {
  DaemonProcess daemon(DaemonSetup{});
  const auto add_model = [&](const std::string& lines) {
    std::ofstream(daemon.config_path(), std::ios::app) << "  - name: second\n" << lines;
  };
  const auto refusal = [&] {
    ChildProcess check({PARKD_BINARY, "--config", daemon.config_path(), "--check-config"});
    EXPECT_EQ(check.wait(), 2) << check.out();
    return check.err();
  };
  add_model("    local_path: " + daemon.directory() + "/none.gguf\n");
  const std::string missing = refusal();
  EXPECT_NE(missing.find("key 'models[1].local_path': "), std::string::npos) << missing;
  EXPECT_NE(missing.find("none.gguf"), std::string::npos) << missing;

  std::ofstream(daemon.directory() + "/none.gguf") << "this is no model, but it is long enough";
  const std::string other = refusal();
  EXPECT_NE(other.find("key 'models[1].local_path': "), std::string::npos) << other;
  EXPECT_NE(other.find("GGUF"), std::string::npos) << other;

  std::filesystem::copy_file(daemon.directory() + "/tiny.gguf", daemon.directory() + "/none.gguf",
                             std::filesystem::copy_options::overwrite_existing);
  std::ofstream(daemon.config_path(), std::ios::app)
      << "    params: {kvcache_mem_cpu: 16777216, device: cpu}\n";
  const std::string large = refusal();
  EXPECT_NE(large.find("key 'models[1].params.kvcache_mem_cpu': value 16777216 (MiB) is more than"),
            std::string::npos)
      << large;
  // The daemon says the same, and runs the other model.
  ASSERT_TRUE(daemon.start()) << daemon.log();
  daemon.wait_for_model();
  ASSERT_TRUE(daemon.wait_until([&] {
    return must(daemon.client()->get("/readyz")).text.find("\"failed_models\":[\"second\"]") !=
           std::string::npos;
  }));
  const HttpAnswer ready = must(daemon.client()->get("/readyz"));
  EXPECT_EQ(ready.status, 200);
  EXPECT_NE(ready.text.find("\"degraded\":true"), std::string::npos) << ready.text;
  EXPECT_NE(ready.text.find("value 16777216 (MiB) is more than"), std::string::npos) << ready.text;
}

// A second model is still being opened, gets a job, and leaves the configuration.
TEST(Life, jobs_of_a_model_that_left_the_configuration_say_why_they_wait) {
  DaemonProcess daemon(DaemonSetup{});
  std::ifstream whole(daemon.config_path());
  const std::string without{std::istreambuf_iterator<char>(whole), {}};
  const std::string slow = daemon.directory() + "/slow.gguf";
  const SlowModelFile file(slow);
  std::ofstream(daemon.config_path(), std::ios::app)
      << "  - name: gone\n    local_path: " << slow << "\n";
  ASSERT_TRUE(daemon.start()) << daemon.log();
  json::object job = chat_job("stranded");
  job["model"] = "gone";
  const std::string path = "/v1/jobs/" + std::to_string(submit(*daemon.client(), job));
  daemon.kill();
  std::ofstream(daemon.config_path()) << without;

  ASSERT_TRUE(daemon.start()) << daemon.log();
  const HttpAnswer waiting = must(daemon.client()->get(path));
  EXPECT_EQ(text_at(waiting.json, "state"), "queued");
  EXPECT_EQ(text_at(waiting.json, "waits_for"), "this daemon's configuration has no model gone");
  const auto says = [&](const char* target, const std::string& words) {
    return must(daemon.client()->get(target)).text.find(words) != std::string::npos;
  };
  ASSERT_TRUE(daemon.wait_until([&] { return says("/readyz", "1 of \\\"gone\\\""); }));
  EXPECT_TRUE(says("/metrics", "parkd_notice{code=\"model_not_served\"} 1"));
  EXPECT_NE(daemon.log().find("model_not_served"), std::string::npos);
  EXPECT_EQ(must(daemon.client()->get("/readyz")).status, 200);
  ASSERT_EQ(must(daemon.client()->post(path + "/cancel", json::object())).status, 200);
  EXPECT_TRUE(daemon.wait_until([&] { return !says("/readyz", "model_not_served"); }));
}

TEST(Life, a_slowly_loading_model_does_not_keep_jobs_out) {
  DaemonProcess daemon(DaemonSetup{});
  const std::string file = daemon.directory() + "/tiny.gguf";
  const std::string saved = file + ".saved";
  ASSERT_EQ(std::rename(file.c_str(), saved.c_str()), 0);
  SlowModelFile slow(file);
  ASSERT_TRUE(daemon.start()) << daemon.log();
  const auto client = daemon.client();
  const HttpAnswer ready = must(client->get("/readyz"));
  EXPECT_EQ(ready.status, 200) << "ready means that jobs are accepted";
  EXPECT_NE(ready.text.find("\"state\":\"loading\""), std::string::npos) << ready.text;
  const int64_t id = submit(*client, chat_job("early"));
  json::object bad = chat_job("early");
  bad["body"].as_object()["temperature"] = 9;
  EXPECT_EQ(must(client->post("/v1/jobs", bad)).status, 400) << "bodies are checked all the same";
  EXPECT_EQ(text_at(must(client->get("/v1/jobs/" + std::to_string(id))).json, "state"), "queued");

  slow.let_go();  // the load goes on, and finds no model
  HttpAnswer models;
  do {
    models = must(client->get("/v1/models"));
  } while (models.text.find("\"state\":\"loading\"") != std::string::npos);
  EXPECT_NE(models.text.find("\"state\":\"failed\""), std::string::npos) << models.text;
  EXPECT_FALSE(text_at(find(models.json, "data")->get_array().at(0), "failure").empty());
  const HttpAnswer failed = must(client->get("/readyz"));
  EXPECT_EQ(failed.status, 503) << "no model of this daemon can come any more: " << failed.text;
  EXPECT_NE(failed.text.find("\"failed_models\":[\"tiny\"]"), std::string::npos) << failed.text;
  daemon.signal(SIGTERM);
  EXPECT_TRUE(ended_with(daemon, 0)) << daemon.log();

  ASSERT_EQ(std::rename(saved.c_str(), file.c_str()), 0);
  ASSERT_TRUE(daemon.start());
  const json::array messages = wait_for_messages(*daemon.client(), "early", 1);
  EXPECT_EQ(text_at(messages[0], "outcome"), "completed");
  EXPECT_EQ(number_at(messages[0], "id"), id);
}

TEST(Life, the_log_says_what_the_pool_became_and_sigusr1_dumps_it) {
  DaemonSetup setup;
  setup.worker_threads = 2;
  DaemonProcess daemon(setup);
  ASSERT_TRUE(daemon.start());
  daemon.wait_for_model();
  EXPECT_NE(daemon.log().find("parking lot pool initialized with 2 worker threads"),
            std::string::npos)
      << daemon.log();
  daemon.signal(SIGUSR1);
  EXPECT_TRUE(daemon.wait_until(
      [&] { return daemon.log().find("dump.model model=tiny") != std::string::npos; }));
}

// Also where the binary is linked with CUDA: no device is to be seen.
TEST(Life, without_a_cuda_device_the_daemon_says_so_and_serves_on_the_cpu) {
  DaemonProcess daemon(DaemonSetup{});
  ASSERT_TRUE(daemon.start({{"CUDA_VISIBLE_DEVICES", ""}}));
  daemon.wait_for_model();
  const std::string log = daemon.log();
  const size_t line = log.find("model.device ");
  ASSERT_NE(line, std::string::npos) << log;
  const std::string said = log.substr(line, log.find('\n', line) - line);
  EXPECT_NE(said.find("no CUDA device: using cpu ("), std::string::npos) << said;
  const auto client = daemon.client();
  const HttpAnswer models = must(client->get("/v1/models"));
  const json::value& model = find(models.json, "data")->get_array().at(0);
  EXPECT_EQ(text_at(model, "backend").rfind("cpu ", 0), 0U) << models.text;
  EXPECT_EQ(text_at(model, "backend_reason").rfind("no CUDA device: using cpu (", 0), 0U)
      << models.text;
  submit(*client, chat_job("done"));
  EXPECT_EQ(messages_of(must(client->get("/v1/mailbox/done?wait_s=60"))).size(), 1U);
}

// The socket that systemd would listen on.
class NotifySocket {
 public:
  explicit NotifySocket(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~NotifySocket() { ::close(fd_); }
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  // Reads until a message holds `word`.
  bool hears(const std::string& word) {
    char buffer[1024];
    for (;;) {
      const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n < 0) return false;
      if (std::string(buffer, static_cast<size_t>(n)).find(word) != std::string::npos) return true;
    }
  }

 private:
  int fd_;
};

TEST(Life, systemd_hears_ready_watchdog_and_stopping) {
  DaemonProcess daemon(DaemonSetup{});
  NotifySocket systemd(daemon.directory() + "/notify");
  ASSERT_TRUE(daemon.start(
      {{"NOTIFY_SOCKET", daemon.directory() + "/notify"}, {"WATCHDOG_USEC", "300000"}}));
  EXPECT_TRUE(systemd.hears("READY=1"));
  EXPECT_TRUE(systemd.hears("WATCHDOG=1"));
  EXPECT_TRUE(systemd.hears("WATCHDOG=1")) << "it goes on";
  daemon.signal(SIGTERM);
  EXPECT_TRUE(systemd.hears("STOPPING=1"));
  EXPECT_TRUE(ended_with(daemon, 0));
}

}  // namespace
}  // namespace parkd::testing
