#include <chrono>
#include <random>

#include "tests/cuda/kernel_data.h"
#include "tests/gpu/probe/probes.h"
#include "tests/gpu/probe/timer.h"
#include "tools/simulate/step_cost.h"

namespace parkd::probe {
namespace {

using testing::require;

class CapturedGraph {
 public:
  template <class Work>
  CapturedGraph(cudaStream_t stream, Work work) {
    require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
            "cudaStreamBeginCapture");
    work();
    cudaGraph_t graph = nullptr;
    require(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    const cudaError_t made = cudaGraphInstantiate(&exec_, graph, 0);
    (void)cudaGraphDestroy(graph);
    require(made, "cudaGraphInstantiate");
  }
  ~CapturedGraph() { (void)cudaGraphExecDestroy(exec_); }
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;
  cudaGraphExec_t get() const { return exec_; }

 private:
  cudaGraphExec_t exec_ = nullptr;
};

}  // namespace

void probe_launches(const Figures& figures, bool tiny) {
  const int n = tiny ? 8 : 512;
  const int runs = tiny ? 1 : 21;
  Timer timer;
  std::mt19937_64 random(1);
  const testing::Step step(random, {{4, 1}}, 32, 0);
  const testing::DeviceArray<int32_t> sampled(std::vector<int32_t>{7});
  const auto launch_all = [&] {
    for (int i = 0; i < n; ++i) {
      require(cuda::launch_feed_tokens({step.device, sampled.get()}, timer.stream()),
              "feed_tokens");
    }
  };
  launch_all();  // the first loads the module
  require(cudaStreamSynchronize(timer.stream()), "feed_tokens");
  const CapturedGraph graph(timer.stream(), launch_all);
  const double graph_s = timer.seconds(
      runs, [&] { require(cudaGraphLaunch(graph.get(), timer.stream()), "cudaGraphLaunch"); });
  // The kernel itself takes part of it: a microsecond or two.
  figures.print("launch.kernel_of_a_graph", 1e6 * graph_s / n, "us",
                [](const simulate::DeviceSheet&) { return 1e6 * simulate::kGapS; });
  const auto start = std::chrono::steady_clock::now();
  launch_all();
  const std::chrono::duration<double> host = std::chrono::steady_clock::now() - start;
  require(cudaStreamSynchronize(timer.stream()), "feed_tokens");
  figures.print("launch.host_time_of_one", 1e6 * host.count() / n, "us",
                [](const simulate::DeviceSheet&) { return 1e6 * simulate::kLaunchS; });
  figures.print("launch.graph_of_" + std::to_string(n), 1e6 * graph_s, "us");
}

}  // namespace parkd::probe
