#pragma once
#include "kernels.hpp"
namespace bispik { const Kernels& portable_kernels(); const Kernels& vnni_kernels(); const Kernels& chosen_kernels(); }
