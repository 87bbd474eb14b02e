// The kernels for ARM64 with the dot-product extension: the generic text in its vectors.
#include "generic.hpp"
#include "paths.hpp"

namespace bispik {

const Kernels& neon_kernels() {
    static const Kernels kernels{"neon",
                                 generic::add_rows,
                                 nullptr,
                                 nullptr,
                                 generic::run_neurons,
                                 generic::attend,
                                 generic::set_bits,
                                 generic::count_masks};
    return kernels;
}

}  // namespace bispik
