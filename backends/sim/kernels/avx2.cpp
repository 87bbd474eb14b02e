// The kernels for x86 with AVX2: the generic text in vectors of 32 bytes.
#include "generic.hpp"
#include "paths.hpp"

namespace bispik {

const Kernels& avx2_kernels() {
    static const Kernels kernels = generic::table("avx2");
    return kernels;
}

}  // namespace bispik
