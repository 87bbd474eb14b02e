// The kernels for ARM64 with the dot-product extension: the generic text in its vectors.
#include "generic.hpp"
#include "paths.hpp"

namespace bispik {

const Kernels& neon_kernels() {
    static const Kernels kernels = generic::table("neon");
    return kernels;
}

}  // namespace bispik
