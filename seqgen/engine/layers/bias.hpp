// Bias of a layer: one number for each of its outputs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/pack.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// The array `name` of so many numbers, padded to whole vectors with zeros. Raises Failure(SEQGEN_FORMAT) as Tensors
// does.
inline AlignedArray<float> read_bias(const Tensors& tensors, const std::string& name, std::size_t count) {
    std::vector<std::int64_t> shape = {static_cast<std::int64_t>(count)};
    const std::vector<float> values = tensors.floats(name, shape);
    AlignedArray<float> made(padded(count));
    std::copy(values.begin(), values.end(), made.data());
    return made;
}

}  // namespace seqgen
