# Whether the CUDA backend is built, and with what. OCTET_CUDA: ON, OFF, or AUTO (built where nvcc is found: $CUDACXX, PATH,
# $CUDA_HOME, /usr/local/cuda). Sets OCTET_HAS_CUDA. Code is made for Hopper (sm_90a) alone.

set(OCTET_CUDA AUTO CACHE STRING "Build the CUDA backend: ON, OFF, or AUTO (where nvcc is found)")
set_property(CACHE OCTET_CUDA PROPERTY STRINGS AUTO ON OFF)
set(OCTET_HAS_CUDA OFF)
if(NOT OCTET_CUDA OR OCTET_SANITIZE)
  return()
endif()

find_program(OCTET_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin
             DOC "NVIDIA's CUDA compiler")
if(DEFINED ENV{CUDACXX})
  set(OCTET_NVCC $ENV{CUDACXX})
endif()
if(NOT OCTET_NVCC)
  if(OCTET_CUDA STREQUAL "AUTO")
    return()
  endif()
  message(FATAL_ERROR "nvcc is not there: the CUDA backend needs CUDA's toolkit 12.4 or newer; put nvcc into PATH, or set "
                      "CUDACXX to it or CUDA_HOME to its folder")
endif()

set(CMAKE_CUDA_COMPILER ${OCTET_NVCC})
set(CMAKE_CUDA_ARCHITECTURES 90a-real)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
if(CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
set(CMAKE_CUDA_STANDARD_REQUIRED OFF)  # CMake 3.25 has no CUDA_STANDARD 20: the option below says it
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
  if(OCTET_CUDA STREQUAL "AUTO")
    message(STATUS "CUDA backend: not built, ${OCTET_NVCC} is ${CMAKE_CUDA_COMPILER_VERSION}, older than 12.4")
    return()
  endif()
  message(FATAL_ERROR "${OCTET_NVCC} is ${CMAKE_CUDA_COMPILER_VERSION}: the CUDA backend needs 12.4 or newer")
endif()
set(OCTET_HAS_CUDA ON)

add_library(octet_cuda_flags INTERFACE)
target_include_directories(octet_cuda_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(octet_cuda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wno-missing-field-initializers>
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Werror,-Wno-missing-field-initializers;--Werror=all-warnings>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr>")
