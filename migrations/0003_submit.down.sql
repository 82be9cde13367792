-- Functions hold nothing.
DROP TRIGGER jobs_after_insert ON parkd.jobs;
DROP FUNCTION parkd.after_insert_v1, parkd.hold_limit_v1, parkd.over_v1, parkd.depth_v1, parkd.waiting_v1,
  parkd.submit_v1, parkd.hold_key_v1, parkd.known_keys_v1, parkd.accepted_v1, parkd.content_hash_v1, parkd.value_text_v1,
  parkd.need_tokens_v1,
  parkd.new_seed_v1, parkd.new_mailbox_key_v1, parkd.delay_v1, parkd.endpoints_v1, parkd.tenant_of_login_v1,
  parkd.acts_for_any;
DROP TYPE parkd.depths;
