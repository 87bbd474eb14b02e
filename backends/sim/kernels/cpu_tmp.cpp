#include "cpu.hpp"
#include <cstdlib>
#include <cstring>
namespace bispik { const Kernels& chosen_kernels(){ const char*p=getenv("BISPIK_KERNELS"); return p&&!strcmp(p,"portable")?portable_kernels():vnni_kernels(); } }
