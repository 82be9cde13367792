# `cmake --install BUILD`: the programs, the unit, the user it runs as, the example configuration and the
# documents, by the FHS. Migrations are compiled into jobctl and parkd. The unit is written for
# /usr/local; another prefix takes its place (the unit, the paths in its text).
set(parkd_doc share/doc/parkd)
install(TARGETS parkd jobctl RUNTIME DESTINATION bin)
install(FILES README.md DESIGN.md CHANGELOG.md LICENSE config/parkd.yaml systemd/tcp.conf systemd/webhook.conf DESTINATION ${parkd_doc})
install(FILES systemd/parkd.sysusers.conf DESTINATION lib/sysusers.d RENAME parkd.conf)
install(CODE "set(unit [[${PROJECT_SOURCE_DIR}/systemd/parkd.service]])
  set(made [[${PROJECT_BINARY_DIR}/install]])")
install(CODE [[
  file(READ "${unit}" text)
  string(REPLACE "/usr/local/" "${CMAKE_INSTALL_PREFIX}/" text "${text}")
  file(WRITE "${made}/parkd.service" "${text}")
  file(INSTALL DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/systemd/system" TYPE FILE
       PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ FILES "${made}/parkd.service")
]])
