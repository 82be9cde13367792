CREATE OR REPLACE FUNCTION parkd.endpoints_v1() RETURNS text[] LANGUAGE sql IMMUTABLE   -- inlined
  RETURN ARRAY['/v1/chat/completions'];
