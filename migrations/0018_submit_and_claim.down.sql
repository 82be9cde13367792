DROP FUNCTION parkd.claim_submitted_v1(bigint, text, bigint, timestamptz, bool);
