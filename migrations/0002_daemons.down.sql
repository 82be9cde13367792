-- Functions hold nothing.
DROP FUNCTION parkd.rescue_v1, parkd.unregister_v1, parkd.return_unknown_claims_v1, parkd.unclaim_v1,
  parkd.register_model_v1, parkd.keep_models_v1, parkd.heartbeat_v1, parkd.register_v1, parkd.disown_v1,
  parkd.current_epoch_v1, parkd.timeline_v1, parkd.now_v1, parkd.from_us_v1, parkd.us_v1;
