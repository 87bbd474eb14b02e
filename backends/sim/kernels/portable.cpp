// The kernels for any processor.
#include "generic.hpp"
#include "paths.hpp"

namespace bispik {

const Kernels& portable_kernels() {
    static const Kernels kernels{"portable",           generic::add_rows, nullptr,           nullptr,
                                 generic::run_neurons, generic::attend,   generic::set_bits, generic::count_masks};
    return kernels;
}

}  // namespace bispik
