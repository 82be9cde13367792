// StreamedAnswer: one caller's answer as server-sent events: tokens while its job runs here, and
// from the stored message whatever was not sent by then, the finish and [DONE]. So a stream never
// ends otherwise than its message, and where the job runs elsewhere all of it comes in one piece.
//
// Control thread, but for render_end(). What a slow client has not taken waits in the TokenFeed,
// not here: it is only sent more when it has taken the last.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>
#include <string>

#include "lib/dispatch/token_feed.h"
#include "lib/endpoint/answer_stream.h"
#include "lib/http/http_reply.h"
#include "lib/job/job_id.h"
#include "lib/openai/stored_answer.h"
#include "lib/openai/stream_chunks.h"
#include "lib/openai/stream_cursor.h"

namespace parkd {

struct Job;

class StreamedAnswer : public std::enable_shared_from_this<StreamedAnswer> {
 public:
  struct Options {
    JobId job_id = 0;
    bool include_usage = false;
    std::string last_event_id;  // where an earlier stream of the job broke off; empty: nowhere
  };
  StreamedAnswer(boost::asio::io_context& io, TokenFeed& feed, Options options)
      : io_(io), feed_(feed), options_(std::move(options)) {
    head_.job_id = options_.job_id;
  }

  // The header alone.
  static HttpReply head();
  // Opens the stream.
  HttpReply reply();
  // The job is live: its tokens are sent as they come.
  void follow(const Job& job, AnswerStreamPlan plan, const std::string& fingerprint);
  // Nothing is sent of the tokens any more. render_end() may be called once, on any thread; what it
  // returns goes to finish().
  void begin_end();
  // `reply`: what a caller that does not stream would be answered with.
  std::string render_end(const HttpReply& reply);
  void finish(std::string rest);
  // The client has gone.
  void cut();

 private:
  void opened(std::shared_ptr<HttpStream> stream);
  void pump();
  bool send_choices(const RunTokens& run, std::string& out);
  bool send_piece(size_t choice, const AnswerStream::Piece& piece, std::string& out);
  void send_rest(size_t choice, const StoredChoice& stored, std::string& out);
  void send_chunk(const ChunkDelta& delta, std::string& out);
  std::string render_stored(const StoredAnswer& stored);
  void begin_cursor(size_t n_choices, std::string& out);
  void restart(size_t n_choices, std::string& out);
  void write(std::string text);
  void keep_alive();

  boost::asio::io_context& io_;
  TokenFeed& feed_;
  const Options options_;
  std::shared_ptr<HttpStream> stream_;  // null: not open yet, or closed
  bool is_ending_ = false;
  bool is_waiting_ = false;  // for the client to take what was sent
  bool was_quiet_ = true;    // nothing was written since the last keep_alive()
  TokenFeed::Listener listener_;
  ChunkHead head_;
  std::optional<StreamCursor> cursor_;
  std::optional<AnswerStream> answer_;
  RequestId run_ = 0;  // that answer_ is of
};

}  // namespace parkd
