// The kernels for x86 with AVX2: the generic text in vectors of 32 bytes.
#include "generic.hpp"
#include "paths.hpp"

namespace bispik {

const Kernels& avx2_kernels() {
    static const Kernels kernels{"avx2",
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
