// Codecs: from drawn symbols or real numbers to audio in [-1, 1] and to 16-bit PCM.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "kernels/kernels.hpp"

namespace seqgen {

// A sample in [-1, 1] as 16-bit PCM.
inline std::int16_t pcm16(float value) {
    return static_cast<std::int16_t>(std::min(std::nearbyint(value * 32768.0f), 32767.0f));
}

// The 16-bit sample of its two bytes, as the op `bytes16` has them.
inline int sample_of_bytes(int coarse, int fine) { return 256 * coarse + fine - 32768; }

// What the symbols of `mulaw8` mean: y = 2 symbol / 255 - 1, x = sign(y) (256^|y| - 1) / 255, below 1.
inline std::array<float, kClasses> mulaw_values() {
    std::array<float, kClasses> values{};
    for (int symbol = 0; symbol < kClasses; ++symbol) {
        const double y = 2.0 * symbol / 255 - 1, size = std::expm1(std::fabs(y) * std::log1p(255.0)) / 255;
        values[static_cast<std::size_t>(symbol)] =
            std::min(static_cast<float>(y < 0 ? -size : size), std::nextafter(1.0f, 0.0f));
    }
    return values;
}

}  // namespace seqgen
