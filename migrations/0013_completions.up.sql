-- 0013: jobs for /v1/completions. A program that knows 0012 alone would end them as invalid, so it has no business here.

-- A list that grows; what it means is unchanged, so it stays endpoints_v1.
CREATE OR REPLACE FUNCTION parkd.endpoints_v1() RETURNS text[] LANGUAGE sql IMMUTABLE   -- inlined
  RETURN ARRAY['/v1/chat/completions', '/v1/completions'];
