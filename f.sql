CREATE PROCEDURE public.cycle(n int, fin bool) LANGUAGE plpgsql AS $$
DECLARE v_id bigint[]; v_lease bigint[]; f record; body json;
BEGIN
 FOR i IN 1..n LOOP
  v_id := '{}'; v_lease := '{}';
  SELECT array_agg(c.id), array_agg(c.run_lease) INTO v_id, v_lease FROM parkd.claim_v1(1,'m',64) c;
  COMMIT;
  IF fin THEN
   PERFORM count(*) FROM parkd.finish_v1(v_id, v_lease, array_fill('completed'::text, ARRAY[64]), array_fill(''::text, ARRAY[64]), array_fill(''::text, ARRAY[64]), array_fill(''::text, ARRAY[64]), array_fill(200, ARRAY[64]), array_fill('{"id":"x","choices":[{"message":{"role":"assistant","content":"one two three four five six seven eight nine ten"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'::text, ARRAY[64]), array_fill(10, ARRAY[64]), array_fill(10, ARRAY[64]), array_fill(10::bigint, ARRAY[64]), array_fill(10::bigint, ARRAY[64]), array_fill(10::bigint, ARRAY[64]));
   COMMIT;
  END IF;
 END LOOP;
END $$;
