# One library and one test binary a folder of src/. Sources are found by name:
#   x.cc          into the library
#   x_avx2.cc     the same, compiled for that instruction set (chosen at run time, never called on a lesser CPU)
#   x_avx512.cc   the same
#   x_test.cc     into the folder's test binary, octet_<name>_test
#   x_bench.cc    a Google Benchmark binary of its own

add_library(octet_flags INTERFACE)
target_compile_options(octet_flags INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers)
target_include_directories(octet_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(OCTET_SANITIZE)
  target_compile_options(octet_flags INTERFACE -fsanitize=${OCTET_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(octet_flags INTERFACE -fsanitize=${OCTET_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(octet_flags INTERFACE -Wno-maybe-uninitialized)  # instrumented code misleads it: <regex>, for one
  endif()
endif()

set(OCTET_AVX2_FLAGS -mavx2 -mfma -mf16c -mbmi2)
set(OCTET_AVX512_FLAGS -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi -mavx512bf16 -mfma -mf16c -mbmi2
    -mprefer-vector-width=512)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  list(APPEND OCTET_AVX512_FLAGS -Wno-maybe-uninitialized)  # GCC bug 105593: its own AVX-512 intrinsics
endif()

# octet_module(<name> [DEPS <targets>...] [TEST_DEPS <targets>...]) for the folder it is called from.
function(octet_module name)
  cmake_parse_arguments(ARG "" "" "DEPS;TEST_DEPS;SUBDIRS" ${ARGN})
  set(patterns *.cc)
  foreach(dir ${ARG_SUBDIRS})
    list(APPEND patterns ${dir}/*.cc)
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  set(tests ${sources})
  set(benches ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|bench)\\.cc$|/main\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  foreach(source ${sources})
    if(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${OCTET_AVX2_FLAGS}")
    elseif(source MATCHES "_avx512\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${OCTET_AVX512_FLAGS}")
    endif()
  endforeach()

  if(sources)
    add_library(octet_${name} STATIC ${sources})
    target_link_libraries(octet_${name} PUBLIC octet_flags ${ARG_DEPS})
  else()
    add_library(octet_${name} INTERFACE)
    target_link_libraries(octet_${name} INTERFACE octet_flags ${ARG_DEPS})
  endif()

  if(OCTET_TESTS AND tests)
    add_executable(octet_${name}_test ${tests})
    target_link_libraries(octet_${name}_test PRIVATE octet_${name} ${ARG_TEST_DEPS} GTest::gtest_main)
    add_test(NAME ${name} COMMAND octet_${name}_test WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES LABELS unit)
  endif()
  if(OCTET_TESTS AND benches)
    find_package(benchmark REQUIRED)
    foreach(bench ${benches})
      get_filename_component(stem ${bench} NAME_WE)
      add_executable(octet_${stem} ${bench})
      target_link_libraries(octet_${stem} PRIVATE octet_${name} ${ARG_TEST_DEPS} benchmark::benchmark_main)
    endforeach()
  endif()
endfunction()
