#include "paths.hpp"

#include <stdexcept>

#if defined(BISPIK_AMX) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(BISPIK_NEON) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace bispik {
namespace {

#if defined(BISPIK_AVX2)
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt");
}
#endif

#if defined(BISPIK_VNNI)
bool has_vnni() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
}
#endif

#if defined(BISPIK_AMX)
// Whether the processor has tiles of bytes, and the operating system saves them for this process, which must ask for
// it.
bool has_amx() {
#if defined(BISPIK_IMITATED_TILES)
    return has_vnni();
#elif defined(__linux__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kTiles = 1u << 24, kBytes = 1u << 25;
    if (!has_vnni() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTiles) == 0 || (d & kBytes) == 0) return false;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}
#endif

#if defined(BISPIK_NEON)
bool has_dot_products() {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return true;  // every Apple processor of this architecture has them
#endif
}
#endif

}  // namespace

std::vector<Path> built_paths() {
    std::vector<Path> paths{{"portable", true, portable_kernels}};
#if defined(BISPIK_AVX2)
    paths.push_back({"avx2", has_avx2(), avx2_kernels});
#endif
#if defined(BISPIK_VNNI)
    paths.push_back({"vnni", has_vnni(), vnni_kernels});
#endif
#if defined(BISPIK_AMX)
    paths.push_back({"amx", has_amx(), amx_kernels});
#endif
#if defined(BISPIK_NEON)
    paths.push_back({"neon", has_dot_products(), neon_kernels});
#endif
    return paths;
}

const Kernels& kernels_named(const std::string& name) {
    const Kernels* fastest = nullptr;
    std::string names;
    for (const Path& path : built_paths()) {
        if (!path.available) continue;
        if (path.name == name) return path.kernels();
        fastest = &path.kernels();
        names += (names.empty() ? "" : ", ") + path.name;
    }
    if (!name.empty())
        throw std::runtime_error("no kernels '" + name + "' here; this processor and build have " + names);
    return *fastest;
}

}  // namespace bispik
