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
find_package(OpenSSL REQUIRED COMPONENTS Crypto SSL)  # SSL: a receiver of the tests
find_package(CURL 7.87 REQUIRED)
find_package(CUDAToolkit QUIET)  # headers and the static runtime; whether nvcc is used: kernels/cuda
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

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

# A test that runs for so long hangs, however loaded the machine is. (same_bytes_test takes 15 minutes of a core with the
# thread sanitizer.)
set(PARKD_HUNG_S 900)
if(PARKD_SANITIZE)
  set(PARKD_HUNG_S 3600)
endif()

# What `tools/check.sh fast` builds. It runs the tests with the label fast, without tests/slow_cases.txt.
add_custom_target(fast_tests)
# What `tools/check.sh full` builds with the thread sanitizer: programs of tests without the label no_tsan.
add_custom_target(tsan_tests)

# A test's own sources, which are most of the code, compile in a third of the time (mailbox_test.cc: 32 s of g++
# 12, 11 s) unoptimised and without two checks: null, where the load itself fails, and alignment, which is a matter of
# those who read bytes: our libraries, which keep all checks. PARKD_TESTS_COMPUTE, set by a folder, keeps the optimiser for references in loops.
function(parkd_sanitize_less name)
  if(PARKD_SANITIZE MATCHES undefined)
    target_compile_options(${name} PRIVATE -fno-sanitize=null,alignment)
  endif()
  if(NOT PARKD_TESTS_COMPUTE)
    target_compile_options(${name} PRIVATE -O0)
  endif()
endfunction()

# parkd_test(NAME SOURCES a_test.cc ... DEPS ... [LABELS ...] [TIMEOUT s])
# One GoogleTest program, run by ctest as one test. Those that start processes of ours (labels e2e, crash)
# are not in the fast tier, all others are.
function(parkd_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE parkd_options ${arg_DEPS} GTest::gtest_main)
  if(PARKD_SANITIZE)
    parkd_sanitize_less(${name})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT ${PARKD_HUNG_S})
  endif()
  if(NOT arg_LABELS MATCHES "e2e|crash")
    list(APPEND arg_LABELS fast)
    add_dependencies(fast_tests ${name})
  endif()
  if(NOT arg_LABELS MATCHES "no_tsan")
    add_dependencies(tsan_tests ${name})
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()

# --- CUDA on a machine without a GPU (tests/cuda_emulator/README.md)
set(PARKD_EMULATOR_ASAN_OPTIONS -O1 -fsanitize=address,undefined -fno-omit-frame-pointer
                                -fno-sanitize-recover=all -Wno-maybe-uninitialized)

# A .cu (a path, or a name in kernels/cuda) compiled by g++ against the emulator's headers, once a
# build (plain, asan, race); `out` is set to the object library.
function(parkd_emulated_kernel kernel build out)
  get_filename_component(stem ${kernel} NAME_WE)
  set(name emulated_${stem}_${build})
  set(${out} ${name} PARENT_SCOPE)
  if(TARGET ${name})
    return()
  endif()
  set(source ${kernel})
  if(NOT IS_ABSOLUTE ${source})
    set(source ${PROJECT_SOURCE_DIR}/kernels/cuda/${stem}.cu)
  endif()
  set_source_files_properties(${source} PROPERTIES LANGUAGE CXX)
  add_library(${name} OBJECT ${source})
  target_link_libraries(${name} PRIVATE parkd_options cuda_emulator_${build})
  target_compile_options(${name} PRIVATE -O2 -Wno-unknown-pragmas)
  if(build STREQUAL asan)
    target_compile_options(${name} PRIVATE ${PARKD_EMULATOR_ASAN_OPTIONS})
  elseif(build STREQUAL race)
    # Instrumented by the compiler, answered by tests/cuda_emulator/race.cc. Structs stay whole, so
    # that a load of 16 bytes is one access.
    target_compile_options(${name} PRIVATE -fsanitize=thread -fno-tree-sra)
  endif()
endfunction()

# lib/backend/cuda whole, compiled against the emulator's headers, and the emulator's cuBLAS in place of the
# library's: the daemon's sources. Once a build (plain, asan, race), as parkd_emulated_kernel.
function(parkd_emulated_backend build out)
  set(name emulated_backend_${build})
  set(${out} ${name} PARENT_SCOPE)
  if(TARGET ${name})
    return()
  endif()
  get_directory_property(sources DIRECTORY ${PROJECT_SOURCE_DIR}/lib/backend/cuda
                         DEFINITION PARKD_CUDA_BACKEND_SOURCES)
  list(REMOVE_ITEM sources cublas_dlopen.cc cuda_libraries.cc)
  list(TRANSFORM sources PREPEND ${PROJECT_SOURCE_DIR}/lib/backend/cuda/)
  add_library(${name} OBJECT ${sources} ${PROJECT_SOURCE_DIR}/tests/cuda_backend/emulated_cublas.cc)
  target_link_libraries(${name} PRIVATE parkd_options cuda_emulator_${build})
  target_compile_options(${name} PRIVATE -O1)
  if(build STREQUAL asan)
    target_compile_options(${name} PRIVATE ${PARKD_EMULATOR_ASAN_OPTIONS})
  endif()
endfunction()

# All of kernels/cuda and lib/backend/cuda in one build of the emulator.
function(parkd_emulated_device build out)
  get_directory_property(kernels DIRECTORY ${PROJECT_SOURCE_DIR}/kernels/cuda
                         DEFINITION PARKD_CUDA_SOURCES)
  parkd_emulated_backend(${build} all)
  foreach(kernel ${kernels})
    parkd_emulated_kernel(${kernel} ${build} library)
    list(APPEND all ${library})
  endforeach()
  set(${out} ${all} PARENT_SCOPE)
endfunction()

# parkd_emulated_program(NAME SOURCES main.cc ... DEPS ...): a program of ours whose CUDA device is the
# emulator's, whatever backend its DEPS bring.
function(parkd_emulated_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  parkd_emulated_device(plain device)
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE parkd_options ${device} cuda_emulator_plain ${arg_DEPS})
endfunction()

# parkd_cuda_emulator_test(NAME SOURCES a_test.cc ... KERNELS rms_norm ... DEPS ... [BACKEND] [LABELS ...]
#                          [TIMEOUT s] [ON_GPU [GPU_DEPS ...]])
# A GoogleTest program that runs kernels/cuda on the CPU, in three builds and five tests: NAME.forward,
# NAME.reverse, NAME.random (the order of threads), NAME.asan (with UBSan) and NAME.race. SOURCES may
# hold host code that uses CUDA too (lib/backend/cuda/*.cc). PARKD_EMULATOR_SANITIZED=OFF leaves the last
# two builds and tests out. KERNELS ALL are those of
# kernels/cuda/CMakeLists.txt. ON_GPU: where nvcc is, NAME_gpu is built from the same sources with
# the real toolkit; ctest -L gpu runs it, and skips it without a device. GPU_DEPS: what nvcc made of
# KERNELS that are not in kernels/cuda.
# The sanitizer presets leave these tests out: they have a sanitized build of their own.
function(parkd_cuda_emulator_test name)
  cmake_parse_arguments(arg "ON_GPU;BACKEND" "TIMEOUT" "SOURCES;KERNELS;DEPS;LABELS;GPU_DEPS" ${ARGN})
  if(PARKD_SANITIZE)
    return()
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT ${PARKD_HUNG_S})
  endif()
  list(APPEND arg_SOURCES ${PROJECT_SOURCE_DIR}/tests/cuda/device_main.cc)
  set(builds plain)
  if(PARKD_EMULATOR_SANITIZED)
    list(APPEND builds asan race)
  endif()
  foreach(build ${builds})
    set(kernels)
    if(arg_BACKEND)
      parkd_emulated_device(${build} kernels)
    endif()
    foreach(kernel ${arg_KERNELS})
      parkd_emulated_kernel(${kernel} ${build} library)
      list(APPEND kernels ${library})
    endforeach()
    set(program ${name}_${build})
    add_executable(${program} ${arg_SOURCES})
    target_compile_options(${program} PRIVATE -O1)
    target_link_libraries(${program} PRIVATE parkd_options ${kernels} ${arg_DEPS}
                                             cuda_emulator_${build} GTest::gtest)
    if(build STREQUAL asan)
      target_compile_options(${program} PRIVATE ${PARKD_EMULATOR_ASAN_OPTIONS})
      target_link_options(${program} PRIVATE -fsanitize=address,undefined)
    endif()
  endforeach()
  parkd_emulator_run(${name} forward plain forward)
  set_property(TEST ${name}.forward APPEND PROPERTY LABELS fast)
  add_dependencies(fast_tests ${name}_plain)
  parkd_emulator_run(${name} reverse plain reverse)
  parkd_emulator_run(${name} random plain random)
  if(PARKD_EMULATOR_SANITIZED)
    parkd_emulator_run(${name} asan asan random)
    parkd_emulator_run(${name} race race forward)
  endif()
  if(arg_ON_GPU AND PARKD_HAVE_CUDA)
    add_executable(${name}_gpu ${arg_SOURCES})
    target_link_libraries(${name}_gpu PRIVATE parkd_options ${arg_DEPS} ${arg_GPU_DEPS} parkd_kernels_cuda
                                              CUDA::cudart_static GTest::gtest)
    target_include_directories(${name}_gpu SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
    add_test(NAME ${name}.gpu COMMAND ${name}_gpu)
    set_tests_properties(${name}.gpu PROPERTIES LABELS gpu SKIP_RETURN_CODE 77 RUN_SERIAL ON
                                                TIMEOUT ${arg_TIMEOUT})
  endif()
endfunction()

# Part of parkd_cuda_emulator_test: one of its tests.
function(parkd_emulator_run name run build order)
  add_test(NAME ${name}.${run} COMMAND ${name}_${build})
  set_tests_properties(${name}.${run} PROPERTIES LABELS "cuda_emulator;${arg_LABELS}"
                       TIMEOUT ${arg_TIMEOUT} SKIP_RETURN_CODE 77
                       ENVIRONMENT "PARKD_CUDA_ORDER=${order}")
endfunction()
