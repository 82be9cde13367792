#include "daemon/api/streamed_answer.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "daemon/control/after.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/job/job.h"
#include "lib/openai/errors.h"

namespace parkd {
namespace {

constexpr size_t kUnsentBytesMax = 64 << 10;
// Proxies and clients take a connection for dead that is silent for a minute.
constexpr auto kKeepAliveEvery = std::chrono::seconds(15);

}  // namespace

HttpReply StreamedAnswer::head() {
  HttpReply reply;
  reply.content_type = "text/event-stream; charset=utf-8";
  // For proxies: neither kept nor held back (the latter is nginx's word for it).
  reply.more = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  return reply;
}

HttpReply StreamedAnswer::reply() {
  HttpReply reply = head();
  reply.begin_stream = [self = shared_from_this()](std::shared_ptr<HttpStream> stream) {
    self->opened(std::move(stream));
  };
  return reply;
}

void StreamedAnswer::opened(std::shared_ptr<HttpStream> stream) {
  stream_ = std::move(stream);
  after(io_, kKeepAliveEvery, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->keep_alive();
  });
}

void StreamedAnswer::keep_alive() {
  if (stream_ == nullptr || is_ending_) return;
  if (std::exchange(was_quiet_, true) && stream_->unsent_bytes() == 0) {
    stream_->write(std::string(kStreamComment));
  }
  after(io_, kKeepAliveEvery, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->keep_alive();
  });
}

void StreamedAnswer::follow(const Job& job, AnswerStreamPlan plan, const std::string& fingerprint) {
  if (is_ending_ || stream_ == nullptr || answer_) return;
  head_ = {plan.endpoint,  job.id,      to_unix_us(job.created_at) / 1'000'000,
           job.spec.model, fingerprint, options_.include_usage};
  answer_.emplace(std::move(plan));
  std::string out;
  begin_cursor(static_cast<size_t>(job.spec.n_choices), out);
  write(std::move(out));
  listener_ = feed_.listen(job.id, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->pump();
  });
  pump();
}

void StreamedAnswer::begin_cursor(size_t n_choices, std::string& out) {
  if (cursor_) return;
  if (options_.last_event_id.empty()) {
    cursor_.emplace(n_choices);
    return;
  }
  cursor_ = StreamCursor::read(options_.last_event_id, head_.system_fingerprint, n_choices);
  if (!cursor_) restart(n_choices, out);
}

void StreamedAnswer::restart(size_t n_choices, std::string& out) {
  log_warn("stream.restarted", {{"id", head_.job_id}});
  cursor_.emplace(n_choices);
  out +=
      render_event(render_restart_chunk(head_), cursor_->id(head_.system_fingerprint), "restarted");
}

void StreamedAnswer::pump() {
  if (is_ending_ || is_waiting_ || stream_ == nullptr || !answer_) return;
  const RunTokens* run = feed_.find(head_.job_id);
  if (run == nullptr) return;
  if (stream_->unsent_bytes() > kUnsentBytesMax) {
    is_waiting_ = true;
    stream_->when_sent([weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      self->is_waiting_ = false;
      self->pump();
    });
    return;
  }
  if (run->run != run_) {
    run_ = run->run;
    answer_->restart();
    cursor_->rewind();
  }
  std::string out;
  if (!send_choices(*run, out)) {
    restart(cursor_->n_choices(), out);
    answer_->restart();
    send_choices(*run, out);
  }
  write(std::move(out));
}

// False: this run writes something else than what was sent.
bool StreamedAnswer::send_choices(const RunTokens& run, std::string& out) {
  const size_t n_choices = std::min(run.choices.size(), cursor_->n_choices());
  for (size_t i = 0; i < n_choices; ++i) {
    if (!send_piece(i, answer_->advance(i, run.choices[i]), out)) return false;
  }
  return true;
}

bool StreamedAnswer::send_piece(size_t choice, const AnswerStream::Piece& piece, std::string& out) {
  if (piece.empty()) return true;
  ChunkDelta delta{.choice = choice};
  delta.reasoning = cursor_->take_reasoning(choice, piece.reasoning);
  delta.content = cursor_->take_content(choice, piece.content);
  const size_t known = cursor_->take_logprobs(choice, piece.logprobs.size());
  if (cursor_->has_diverged()) return false;
  delta.logprobs = std::span<const LogprobJson>(piece.logprobs).subspan(known);
  if (delta.reasoning.empty() && delta.content.empty() && delta.logprobs.empty()) return true;
  send_chunk(delta, out);
  return true;
}

void StreamedAnswer::send_chunk(const ChunkDelta& delta, std::string& out) {
  ChunkDelta shown = delta;
  shown.is_first = !cursor_->has_sent(delta.choice);
  cursor_->begin(delta.choice);
  out += render_event(render_chunk(head_, shown), cursor_->id(head_.system_fingerprint));
}

void StreamedAnswer::write(std::string text) {
  if (text.empty() || stream_ == nullptr) return;
  was_quiet_ = false;
  stream_->write(std::move(text));
}

void StreamedAnswer::begin_end() {
  is_ending_ = true;
  listener_.reset();
}

std::string StreamedAnswer::render_end(const HttpReply& reply) {
  if (reply.status != 200) return render_event(reply.body);
  const auto stored = read_stored_answer(reply.body);
  if (!stored.ok()) return render_event(render_error(stored.status()));
  return render_stored(*stored);
}

std::string StreamedAnswer::render_stored(const StoredAnswer& stored) {
  head_.endpoint = stored.endpoint;
  head_.created_s = stored.created_s;
  head_.model = stored.model;
  head_.include_usage = options_.include_usage;
  // Of what was sent already: another one's first text would not be glued to it.
  if (!cursor_) head_.system_fingerprint = stored.system_fingerprint;
  const size_t n_choices = stored.choices.size();
  std::string out;
  begin_cursor(n_choices, out);
  cursor_->rewind();
  StreamCursor probe = *cursor_;
  const bool is_alike = probe.n_choices() == n_choices;
  for (size_t i = 0; is_alike && i < n_choices; ++i) {
    probe.take_reasoning(i, stored.choices[i].reasoning);
    probe.take_content(i, stored.choices[i].content);
    probe.take_logprobs(i, stored.choices[i].logprobs.size());
  }
  head_.system_fingerprint = stored.system_fingerprint;
  if (!is_alike || probe.has_diverged_at_end()) restart(n_choices, out);
  for (size_t i = 0; i < n_choices; ++i) send_rest(i, stored.choices[i], out);
  if (head_.include_usage) out += render_event(render_usage_chunk(head_, stored.usage));
  return out.append(kStreamDone);
}

void StreamedAnswer::send_rest(size_t choice, const StoredChoice& stored, std::string& out) {
  ChunkDelta rest{.choice = choice};
  rest.reasoning = cursor_->take_reasoning(choice, stored.reasoning);
  rest.content = cursor_->take_content(choice, stored.content);
  const size_t known = cursor_->take_logprobs(choice, stored.logprobs.size());
  rest.logprobs = std::span<const LogprobJson>(stored.logprobs).subspan(known);
  rest.tool_calls = stored.tool_calls;
  const bool is_empty = rest.reasoning.empty() && rest.content.empty() && rest.logprobs.empty() &&
                        rest.tool_calls.empty();
  if (!is_empty || !cursor_->has_sent(choice)) send_chunk(rest, out);
  send_chunk({.choice = choice, .finish_reason = stored.finish_reason}, out);
}

void StreamedAnswer::finish(std::string rest) {
  write(std::move(rest));
  if (stream_ != nullptr) stream_->end();
  stream_.reset();
}

void StreamedAnswer::cut() {
  begin_end();
  stream_.reset();
}

}  // namespace parkd
