// Chooses one of the compiled instruction sets, once.
#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "kernels.h"

namespace fff {

#define FFF_DECLARE(name)  \
  namespace name {         \
  template <class C>       \
  Kernels<C> table();      \
  template <>              \
  Kernels<float> table();  \
  template <>              \
  Kernels<double> table(); \
  }

FFF_DECLARE(portable)
#ifdef FFF_HAS_X86
FFF_DECLARE(avx2)
FFF_DECLARE(avx512)
#ifdef FFF_HAS_AVX512_BF16
FFF_DECLARE(avx512_vnni)
FFF_DECLARE(avx512_bf16)
#endif
#endif
#ifdef FFF_HAS_NEON
FFF_DECLARE(neon)
#endif

namespace {

struct InstructionSet {
  std::string name;
  bool (*on_this_processor)();
  // Functions, since code of a set that the processor lacks must not even build the table.
  Kernels<float> (*float_table)();
  Kernels<double> (*double_table)();
};

#define FFF_SET(name, condition)                                                                \
  InstructionSet {                                                                              \
    #name, [] { return static_cast<bool>(condition); }, name::table<float>, name::table<double> \
  }

#ifdef FFF_HAS_X86
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

const std::vector<InstructionSet>& compiled_sets() {
  static const std::vector<InstructionSet> sets = {
#ifdef FFF_HAS_X86
#ifdef FFF_HAS_AVX512_BF16
      FFF_SET(avx512_bf16, has_avx512() && __builtin_cpu_supports("avx512vnni") &&
                               __builtin_cpu_supports("avx512bf16")),
      FFF_SET(avx512_vnni, has_avx512() && __builtin_cpu_supports("avx512vnni")),
#endif
      FFF_SET(avx512, has_avx512()),
      FFF_SET(avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")),
#endif
#ifdef FFF_HAS_NEON
      FFF_SET(neon, true),
#endif
      FFF_SET(portable, true),
  };
  return sets;
}

const InstructionSet& choose() {
  const char* wanted = std::getenv("ULTRAFASTBERT_ISA");
  std::string names;
  for (const InstructionSet& set : compiled_sets()) {
    if (!set.on_this_processor()) continue;
    if (!wanted || !*wanted || set.name == wanted) return set;
    names += (names.empty() ? "" : ", ") + set.name;
  }
  throw std::invalid_argument("ULTRAFASTBERT_ISA='" + std::string(wanted) +
                              "' is not an instruction set of this machine; choose one of " +
                              names + ", or unset it");
}

const InstructionSet& chosen() {
  static const InstructionSet& set = choose();
  return set;
}

}  // namespace

const std::string& instruction_set() { return chosen().name; }

std::vector<std::string> available_instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : compiled_sets())
    if (set.on_this_processor()) names.push_back(set.name);
  return names;
}

// Intel's processors bring what is needed from memory by themselves, and requests of the program's
// are in their way (measured on Cascade Lake); AMD's gain by them. Others are not measured.
bool uses_prefetch() {
#ifdef FFF_HAS_X86
  static const bool is_intel = __builtin_cpu_is("intel");
  return !is_intel;
#else
  return true;
#endif
}

template <>
const Kernels<float>& kernels<float>() {
  static const Kernels<float> table = chosen().float_table();
  return table;
}

template <>
const Kernels<double>& kernels<double>() {
  static const Kernels<double> table = chosen().double_table();
  return table;
}

}  // namespace fff
