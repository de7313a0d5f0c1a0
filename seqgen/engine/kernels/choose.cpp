#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/kernels.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

struct Choice {
    const char* name;
    const Kernels* (*kernels)();
};

// From the fastest to the one that is always there.
constexpr Choice kChoices[] = {{"amx", amx_kernels},
                               {"avx512bf16", avx512_bf16_kernels},
                               {"avx512", avx512_kernels},
                               {"avx2", avx2_kernels},
                               {"neon", neon_kernels},
                               {"generic", generic_kernels}};

}  // namespace

const Kernels& choose_kernels(const char* name) {
    if (name == nullptr) name = std::getenv("SEQGEN_ISA");
    const bool any = name == nullptr || *name == 0;
    std::string known;
    for (const Choice& choice : kChoices) {
        const Kernels* kernels = choice.kernels();
        if (kernels != nullptr && (any || std::strcmp(name, choice.name) == 0)) return *kernels;
        known += std::string(known.empty() ? "" : ", ") + choice.name + (kernels != nullptr ? "" : " (not here)");
    }
    throw Failure(SEQGEN_UNSUPPORTED, "instruction set '" + std::string(name) + "' cannot be used; known: " + known);
}

}  // namespace seqgen
