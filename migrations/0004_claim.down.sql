-- Functions hold nothing.
DROP FUNCTION parkd.note_deaths_v1, parkd.release_v1, parkd.mark_v1, parkd.marks_v1, parkd.promote_v1,
  parkd.queued_tenants_v1, parkd.fair_choice_v1, parkd.critical_choice_v1, parkd.alone_choice_v1, parkd.named_choice_v1, parkd.uncharge_v1, parkd.claim_v1;
DROP TYPE parkd.claimed_job;
