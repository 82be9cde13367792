// Every limit of what a client gives, once, whatever the door: HTTP (lib/openai), every store
// (check_submission, check_batch), jobctl. PostgreSQL says them again in out_of_bounds_v1 (0001),
// before_insert_v2 (0013), bounds_v1 (0009; price_response_v1, 0019) and open_batch (0007, 0010),
// where a query for each is dearer than the row: Extremes.sql_and_http_have_the_same_limits holds
// it to them. Limits of one sampling parameter stand in lib/base/sampling_fields.h. Constants, any
// thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace parkd {

// --- a job
inline constexpr size_t kTextBytesMax = 512;     // of a key, an id, a model name
inline constexpr size_t kMetadataPairsMax = 16;  // as OpenAI
inline constexpr size_t kMetadataNameMax = 64;   // characters, as OpenAI
inline constexpr size_t kMetadataTextMax = 512;  // the same
inline constexpr size_t kMetadataBytesMax =
    kMetadataPairsMax * (kMetadataNameMax + kMetadataTextMax);
inline constexpr std::chrono::seconds kRunTimeoutMin{1};
inline constexpr std::chrono::seconds kRunTimeoutMax{30 * 24 * 3600};
inline constexpr int32_t kAttemptsMax = 100;
// The life a message may be given.
inline constexpr std::chrono::seconds kRetentionMin{60};
inline constexpr std::chrono::seconds kRetentionMax{30 * 24 * 3600};
// No message outlives this, however late the deadline of its batch: what bounds the mailbox's
// periods.
inline constexpr std::chrono::seconds kMessageLifeMax{60 * 24 * 3600};
// run_at and deadline, Unix time. Times beyond the year 9999 have no RFC 3339 text, and adding to
// them could overflow.
inline constexpr int64_t kTimeMaxUs = 253'402'300'799'000'000;

// --- the body of a chat request
inline constexpr size_t kChatBodyBytesMax = 16u << 20;  // of one body
inline constexpr int32_t kChatJsonDepthMax = 32;
inline constexpr int32_t kChoicesMax = 128;         // OpenAI's limit of n
inline constexpr int32_t kAnswerChoicesMax = 2048;  // prompts x n; OpenAI's limit of prompts
inline constexpr size_t kStopStringsMax = 4;
inline constexpr size_t kStopBytesMax = 1024;  // of one stop string
inline constexpr int32_t kTopLogprobsMax = 20;
inline constexpr size_t kBiasesMax = 300;  // of one logit_bias
inline constexpr size_t kToolsMax = 128;   // as OpenAI
inline constexpr size_t kToolNameBytesMax = 64;
// Of these each value takes some fifty times its text while a template is rendered.
inline constexpr size_t kToolsBytesMax = 256 << 10;              // of `tools`, as it stands there
inline constexpr size_t kToolCallsBytesMax = 1 << 20;            // of the calls of all messages
inline constexpr size_t kTemplateArgumentsBytesMax = 256 << 10;  // of chat_template_kwargs

// --- a batch
inline constexpr std::chrono::hours kBatchDeadlineDefault{24};
// So that no member's message outlives kMessageLifeMax.
inline constexpr std::chrono::hours kBatchDeadlineMax{30 * 24};
inline constexpr size_t kBatchNameBytesMax = 512;
inline constexpr size_t kBatchMetadataBytesMax = 64 << 10;
inline constexpr std::chrono::hours kCompletionWindowMin{1};  // of a batch of a file
inline constexpr std::chrono::hours kCompletionWindowMax{30 * 24};
inline constexpr size_t kBatchFaultsMax = 100;  // of its file, that are kept and shown
inline constexpr size_t kWebhookUrlBytesMax = 2048;
inline constexpr size_t kWebhookErrorBytesMax = 512;  // of its last failure, that are kept

// --- a file, as OpenAI's expires_after
inline constexpr std::chrono::seconds kFileLifeMin{3600};
inline constexpr std::chrono::seconds kFileLifeMax{30 * 24 * 3600};
inline constexpr std::chrono::seconds kFileLifeDefault{30 * 24 * 3600};

// --- one call
inline constexpr size_t kSubmitJobsMax = 50'000;
inline constexpr size_t kSubmitDepthMax = 64;  // of a submit's JSON
inline constexpr size_t kRequeueIdsMax = 10'000;
inline constexpr size_t kRequeueCodesMax = 16;
inline constexpr int64_t kMessagesMax = 1000;  // of one answer
inline constexpr int64_t kJobsListedMax = 1000;
inline constexpr int64_t kBatchesListedMax = 1000;
inline constexpr int64_t kFilesListedMax = 10'000;   // as OpenAI
inline constexpr std::chrono::seconds kWaitMax{60};  // for a mailbox's next message

}  // namespace parkd
