// Which tables of kernels were built, and which of them this processor can run.
#pragma once

#include <string>
#include <vector>

#include "kernels.hpp"

namespace bispik {

// One for each file of an instruction set; only those that were built may be called.
const Kernels& portable_kernels();
const Kernels& avx2_kernels();
const Kernels& vnni_kernels();
const Kernels& amx_kernels();
const Kernels& neon_kernels();

struct Path {
    std::string name;
    bool available;               // the processor and the operating system can run it
    const Kernels& (*kernels)();  // only if available: making a table may take the same instructions
};

// All that were built, the fastest last.
std::vector<Path> built_paths();

// The table of that name, or the fastest available one if the name is empty.
// Throws std::runtime_error if there is no such table here, or this processor cannot run it.
const Kernels& kernels_named(const std::string& name);

}  // namespace bispik
