#include "backend/cuda/cuda_backend.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <dlfcn.h>

#include "backend/cuda/abi.h"
#include "backend/cuda/plugin.h"
#include "base/log.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

constexpr char kLibrary[] = "liboctet_cuda.so";

Result<std::string> library_path() {
  if (const char* named = std::getenv("OCTET_CUDA_LIBRARY"); named != nullptr && *named != 0) {
    return std::string(named);
  }
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& path : {folder / kLibrary, folder.parent_path() / "lib" / kLibrary}) {
    if (fs::exists(path, error)) return path.string();
  }
  return not_found(std::string("cuda: ") + kLibrary + " is not beside the program (" + folder.string() +
                   "): build it with `make cuda`, or name it in OCTET_CUDA_LIBRARY");
}

// Loaded once and never unloaded: objects it made may live as long as the program.
Result<const CudaPlugin*> load_plugin() {
  OCTET_ASSIGN_OR_RETURN(const std::string path, library_path());
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    const char* reason = dlerror();
    return not_found(std::string("cuda: cannot load ") + (reason != nullptr ? reason : path.c_str()));
  }
  const auto entry = reinterpret_cast<CudaPluginEntry>(dlsym(library, kCudaPluginSymbol));
  if (entry == nullptr) return unsupported("cuda: " + path + " is not Octet's CUDA backend");
  const CudaPlugin* plugin = entry();
  if (std::strcmp(plugin->abi, kCudaAbi) != 0) {
    return unsupported("cuda: " + path +
                       " is of another build than this program: build both again with `make cuda`");
  }
  return plugin;
}

}  // namespace

Result<std::vector<CudaDevice>> cuda_devices() {
  OCTET_ASSIGN_OR_RETURN(const CudaPlugin* plugin, load_plugin());
  return plugin->devices();
}

Result<std::unique_ptr<Ops>> make_cuda_ops(const CudaOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const CudaPlugin* plugin, load_plugin());
  CudaOptions with_log = options;  // the library has no log of its own
  if (!with_log.info) with_log.info = log_info;
  if (!with_log.warning) with_log.warning = log_warning;
  return plugin->make_ops(with_log);
}

}  // namespace octet
