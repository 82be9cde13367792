-- Functions hold nothing.
DROP FUNCTION parkd.requeue_v1, parkd.ensure_partitions_for_v1, parkd.cancel_v1, parkd.end_cancelled_v1,
  parkd.ask_each_to_cancel_v1, parkd.ask_to_cancel_v1, parkd.end_waiting_v1,
  parkd.enter_finish_v1, parkd.held_v1, parkd.count_members_v1, parkd.finish_v1,
  parkd.tell_results_v1, parkd.results_payload_v1, parkd.hmac_v1, parkd.hmac_block_v1, parkd.is_late_v1, parkd.is_retryable_v1, parkd.status_code_v1;
