SET plan_cache_mode = force_generic_plan;
CALL public.cycle(4,true);
CALL public.cycle(8, 1::bool);
