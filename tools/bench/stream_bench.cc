// stream.*: what clients that listen or wait cost a real daemon, whose clients are this process.
// CPU time and memory alone, which a busy machine changes little.
//
//   stream.tokens       the same jobs with a listener each and with none, in turn: CPU time of the
//                       threads that are not workers for each token that is streamed, and the
//                       workers' tokens a CPU second
//   stream.together     the same while all polls wait
//   stream.polls        a waiting GET of an empty mailbox key: CPU time from its request to its
//                       answer, and a second while it waits
//   stream.connections  memory of a connection that is idle, waits, or streams
#include "tools/bench/stream_bench.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lib/base/check.h"
#include "tools/bench/bench_daemon.h"
#include "tools/bench/peers.h"

namespace parkd::bench {
namespace {

namespace json = boost::json;
using CpuTime = BenchDaemon::CpuTime;

struct Sizes {
  size_t streams;
  size_t polls;
  int64_t max_tokens;  // of a stream
  int wait_s;          // of a poll
};

Sizes sizes_of(const Settings& settings) {
  Sizes sizes{32, 500, 32, 5};
  if (settings.smoke) sizes = {2, 8, 4, 1};
  if (settings.stream_tokens > 0) sizes.max_tokens = settings.stream_tokens;
  if (settings.streams > 0) sizes.streams = static_cast<size_t>(settings.streams);
  if (settings.polls > 0) sizes.polls = static_cast<size_t>(settings.polls);
  return sizes;
}

size_t connections_of(const Sizes& sizes) {
  return sizes.streams + sizes.polls + 32;
}

// This process's own, and some of the daemon's more, which has its limit from here.
void allow_files(size_t n_connections) {
  const rlim_t needed = n_connections + 2048;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= needed) return;
  limit.rlim_cur = needed;
  limit.rlim_max = std::max(limit.rlim_max, needed);
  PARKD_CHECK(::setrlimit(RLIMIT_NOFILE, &limit) == 0,
              "so many connections take a limit of " + std::to_string(needed) +
                  " open files, which only root can give: ulimit -n");
}

// Its limits raised by configuration to what the sizes need.
BenchDaemonSetup setup_of(const Sizes& sizes, const std::string& name) {
  BenchDaemonSetup setup;
  setup.name = name;
  setup.max_num_seqs = static_cast<int64_t>(sizes.streams);
  setup.more_daemon = "  connections_max: " + std::to_string(connections_of(sizes)) +
                      "\n  interactive_timeout_s: 3600\n  interactive_run_timeout_s: 3600\n";
  setup.more_params = "      prefix_caching: false\n";  // no run finds what another computed
  return setup;
}

json::object body_of(size_t i, int64_t max_tokens) {
  json::object body;
  body["model"] = "bench";
  body["messages"] = {{{"role", "user"},
                       {"content", "Tell a long story of the number " + std::to_string(i) + "."}}};
  body["max_tokens"] = max_tokens;
  body["temperature"] = 0;
  return body;
}

// --- tokens

struct Run {
  CpuTime cpu;
  int64_t tokens = 0;
  size_t events = 0;
};

Run run_heard(const BenchDaemon& daemon, const Sizes& sizes) {
  Peers listeners(daemon.socket());
  listeners.connect(sizes.streams);
  const CpuTime before = daemon.cpu_time();
  for (size_t i = 0; i < sizes.streams; ++i) {
    json::object body = body_of(i, sizes.max_tokens);
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    listeners.send(i, http_post("/v1/chat/completions", json::serialize(body)));
  }
  listeners.read_all();
  Run run;
  run.cpu = daemon.cpu_time() - before;
  for (size_t i = 0; i < sizes.streams; ++i) {
    PARKD_CHECK(listeners.answer(i).text.find("[DONE]") != std::string::npos,
                "a stream ended with an error: " + listeners.answer(i).text);
    run.tokens += last_number(listeners.answer(i), "completion_tokens");
    run.events += count_events(listeners.answer(i));
  }
  return run;
}

// Sent one by one as the others are, but of a priority of which nothing is told while it runs. One
// reader waits for the results.
Run run_unheard(const BenchDaemon& daemon, const Sizes& sizes, const std::string& mailbox_key) {
  auto submitters = std::make_unique<Peers>(daemon.socket());
  submitters->connect(sizes.streams);
  const CpuTime before = daemon.cpu_time();
  for (size_t i = 0; i < sizes.streams; ++i) {
    const json::object job{{"body", body_of(i, sizes.max_tokens)}, {"mailbox_key", mailbox_key}};
    submitters->send(i, http_post("/v1/jobs", json::serialize(job)));
  }
  submitters->read_all();
  submitters.reset();  // an idle connection is closed after a while
  Peers reader(daemon.socket());
  reader.connect(1);
  Run run;
  std::string cursor;
  for (size_t n_messages = 0; n_messages < sizes.streams;) {
    reader.send(0, http_get("/v1/mailbox/" + mailbox_key + "?limit=1000&wait_s=60" + cursor));
    reader.read_all();
    const std::string& text = reader.answer(0).text;
    const json::value page = json::parse(text.substr(text.find("\r\n\r\n") + 4));
    for (const json::value& message : page.at("messages").as_array()) {
      PARKD_CHECK(message.at("outcome") == "completed", "a job failed: " + text);
      run.tokens += message.at("completion_tokens").to_number<int64_t>();
      ++n_messages;
    }
    cursor = "&cursor=" + std::string(page.at("next_cursor").as_string());
  }
  run.cpu = daemon.cpu_time() - before;
  return run;
}

double us(double seconds, int64_t n) {
  return 1e6 * seconds / static_cast<double>(n);
}

BenchResult compare(const Run& heard, const Run& unheard, const Sizes& sizes,
                    const std::string& name) {
  PARKD_CHECK(heard.tokens == unheard.tokens, "the same jobs wrote another text");
  const auto tokens = static_cast<double>(heard.tokens);
  const double tokens_heard = tokens / heard.cpu.workers_s;
  const double tokens_unheard = tokens / unheard.cpu.workers_s;
  BenchResult result;
  result.name = name;
  result.figure("streams", static_cast<double>(sizes.streams))
      .figure("tokens", tokens)
      .figure("events", static_cast<double>(heard.events))
      .figure("us_per_token", us(heard.cpu.doors_s() - unheard.cpu.doors_s(), heard.tokens))
      .figure("of_control_us", us(heard.cpu.control_s - unheard.cpu.control_s, heard.tokens))
      .figure("unheard_us_per_token", us(unheard.cpu.doors_s(), unheard.tokens))
      .figure("worker_tokens_per_cpu_s", tokens_heard)
      .figure("unheard_worker_tokens_per_cpu_s", tokens_unheard)
      .figure("lost_percent", 100 * (1 - tokens_heard / tokens_unheard));
  return result;
}

// Whichever is first has the advantage or the drawback of it; so each is, in turn.
BenchResult compare_once(const BenchDaemon& daemon, const Sizes& sizes, const std::string& name,
                         int i) {
  const std::string key = name + "-" + std::to_string(i);
  if (i % 2 == 0) {
    const Run heard = run_heard(daemon, sizes);
    return compare(heard, run_unheard(daemon, sizes, key), sizes, name);
  }
  const Run unheard = run_unheard(daemon, sizes, key);
  return compare(run_heard(daemon, sizes), unheard, sizes, name);
}

BenchResult compare_runs(const Settings& settings, const BenchDaemon& daemon, const Sizes& sizes,
                         const std::string& name) {
  std::vector<BenchResult> runs;
  for (int i = 0; i < settings.runs; ++i) runs.push_back(compare_once(daemon, sizes, name, i));
  return median(std::move(runs));
}

// --- polls

std::string poll_of(size_t i, int wait_s) {
  return http_get("/v1/mailbox/poll-" + std::to_string(i) + "?wait_s=" + std::to_string(wait_s));
}

void send_polls(Peers& peers, int wait_s) {
  for (size_t i = 0; i < peers.size(); ++i) peers.send(i, poll_of(i, wait_s));
}

// What was sent before has been looked at when this has its answer: requests of one user take
// turns.
void catch_up(const BenchDaemon& daemon) {
  Peers last(daemon.socket());
  last.connect(1);
  last.send(0, http_get("/v1/mailbox/none"));
  last.read_all();
}

// Until nobody is connected but who asks: those who have gone cost something, too.
void wait_until_alone(const BenchDaemon& daemon) {
  Peers last(daemon.socket());
  last.connect(1);
  do {
    last.send(0, http_get("/metrics"));
    last.read_all();
  } while (last.answer(0).text.find("\nparkd_connections 1\n") == std::string::npos);
}

double doors_s_of(const BenchDaemon& daemon, std::chrono::milliseconds window) {
  const CpuTime before = daemon.cpu_time();
  std::this_thread::sleep_for(window);
  return (daemon.cpu_time() - before).doors_s();
}

BenchResult poll_once(const BenchDaemon& daemon, const Sizes& sizes) {
  const auto window = std::chrono::milliseconds(1000 * sizes.wait_s / 2);
  wait_until_alone(daemon);
  const double idle_s = doors_s_of(daemon, window);
  Peers peers(daemon.socket());
  const CpuTime before = daemon.cpu_time();
  peers.connect(sizes.polls);
  catch_up(daemon);
  const double connect_s = (daemon.cpu_time() - before).doors_s();
  const CpuTime connected = daemon.cpu_time();
  send_polls(peers, sizes.wait_s);
  peers.read_all();
  const CpuTime all = daemon.cpu_time() - connected;
  // Those of the second round wait for longer than the window, and longer than it takes to begin.
  send_polls(peers, 60);
  catch_up(daemon);
  const double waiting_s = doors_s_of(daemon, window);
  const auto n = static_cast<int64_t>(sizes.polls);
  BenchResult result;
  result.name = "stream.polls";
  result.figure("polls", static_cast<double>(sizes.polls))
      .figure("us_per_poll", us(all.doors_s(), n))
      .figure("of_control_us", us(all.control_s, n))
      .figure("us_per_connection", us(connect_s, n))
      .figure("waiting_us_per_poll_s",
              us(waiting_s - idle_s, n) / std::chrono::duration<double>(window).count())
      .figure("idle_daemon_us_per_s",
              us(idle_s, 1) / std::chrono::duration<double>(window).count());
  return result;
}

// --- memory

// `request`: what each of `n` connections has sent, and of which the daemon has begun. A daemon of
// its own for each: one that had clients before has memory to spare.
double bytes_per_connection(const Settings& settings, const Sizes& sizes, const std::string& name,
                            size_t n, const std::string& request, bool has_head) {
  const BenchDaemon daemon(settings, setup_of(sizes, name));
  Peers peers(daemon.socket());
  peers.connect(1);
  const json::object job{{"body", body_of(0, 4)}, {"run_at", "2090-01-01T00:00:00Z"}};
  peers.send(0, http_post("/v1/jobs", json::serialize(job)));
  peers.read_all();
  std::string target = request;
  if (const size_t at = target.find("JOB"); at != target.npos) {
    target.replace(at, 3, std::to_string(last_number(peers.answer(0), "id")));
  }
  catch_up(daemon);
  const int64_t before = daemon.rss_bytes();
  peers.connect(n + 1);
  for (size_t i = 1; i <= n; ++i) peers.send(i, http_get(target));
  if (has_head) peers.read_heads();
  catch_up(daemon);
  return static_cast<double>(daemon.rss_bytes() - before) / static_cast<double>(n);
}

BenchResult measure_connections(const Settings& settings, const Sizes& sizes) {
  BenchResult result;
  result.name = "stream.connections";
  result
      .figure("idle_bytes",
              bytes_per_connection(settings, sizes, "idle", sizes.polls, "/healthz", true))
      .figure("poll_bytes", bytes_per_connection(settings, sizes, "poll", sizes.polls,
                                                 "/v1/mailbox/none?wait_s=60", false))
      .figure("stream_bytes", bytes_per_connection(settings, sizes, "stream", sizes.streams,
                                                   "/v1/jobs/JOB/stream", true));
  return result;
}

}  // namespace

void run_stream_benchmarks(const Settings& settings) {
  const Sizes sizes = sizes_of(settings);
  allow_files(connections_of(sizes));
  print(settings, measure_connections(settings, sizes));
  const BenchDaemon daemon(settings, setup_of(sizes, "doors"));
  Sizes few = sizes;
  few.streams = std::min<size_t>(sizes.streams, 2);
  few.max_tokens = 4;
  (void)run_heard(daemon, few);  // what is made once is made
  print(settings, compare_runs(settings, daemon, sizes, "stream.tokens"));
  std::vector<BenchResult> runs;
  for (int i = 0; i < settings.runs; ++i) runs.push_back(poll_once(daemon, sizes));
  print(settings, median(std::move(runs)));
  Peers waiting(daemon.socket());
  waiting.connect(sizes.polls);
  send_polls(waiting, 60);
  catch_up(daemon);
  print(settings, compare_once(daemon, sizes, "stream.together", 0));
}

}  // namespace parkd::bench
