// The kernels for any processor.
#include "generic.hpp"
#include "paths.hpp"

namespace bispik {

const Kernels& portable_kernels() {
    static const Kernels kernels = generic::table("portable");
    return kernels;
}

}  // namespace bispik
