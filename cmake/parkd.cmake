# How a folder becomes a target, in one place: warnings, sanitizers, include root, test programs.

find_program(PARKD_CCACHE ccache)
if(PARKD_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PARKD_CCACHE})
endif()

find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json system context)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(RocksDB REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED COMPONENTS core)
find_package(CLI11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

add_library(parkd_options INTERFACE)
target_include_directories(parkd_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(parkd_options INTERFACE -Wall -Wextra -Wshadow -Wconversion
                                               -Wno-sign-conversion -fno-strict-aliasing)
target_link_libraries(parkd_options INTERFACE Threads::Threads)
if(PARKD_WERROR)
  target_compile_options(parkd_options INTERFACE -Werror)
endif()
if(PARKD_KILL_POINTS)
  target_compile_definitions(parkd_options INTERFACE PARKD_KILL_POINTS)
endif()
if(PARKD_SANITIZE)
  target_compile_options(parkd_options INTERFACE -fsanitize=${PARKD_SANITIZE}
                                                 -fno-omit-frame-pointer
                                                 -fno-sanitize-recover=all)
  target_link_options(parkd_options INTERFACE -fsanitize=${PARKD_SANITIZE})
  # g++ 12 with a sanitizer takes <regex>'s own members for uninitialised.
  target_compile_options(parkd_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  # Asio's fences, which g++'s thread sanitizer says it does not model; its queues have mutexes too.
  target_compile_options(parkd_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
endif()
if(PARKD_FUZZERS)
  target_compile_options(parkd_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# parkd_library(NAME SOURCES a.cc ... DEPS lower_target ... PRIVATE_DEPS third_party ...)
# One library a folder. DEPS are our lower floors; PRIVATE_DEPS the third-party libraries this
# folder is the fence of.
function(parkd_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC parkd_options ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
endfunction()

# parkd_test(NAME SOURCES a_test.cc ... DEPS ... [LABELS ...] [TIMEOUT s])
# One GoogleTest program, run by ctest as one test.
function(parkd_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE parkd_options ${arg_DEPS} GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()
