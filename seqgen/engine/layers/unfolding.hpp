// Unfolding of a source's columns over the positions of its target.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "layers/distribution.hpp"
#include "program/json.hpp"

namespace seqgen {

// From |s| symbols a target of |t| = ceil(factor |s| + offset) is expected, as seqgen/generation has it. Position t has
// column t, or, stretched, the one at (t + 1/2) |s| / |t|; zeros where the source has none.
class Unfolding {
   public:
    Unfolding() = default;

    // Raises Failure(SEQGEN_FORMAT) for missing or absurd numbers.
    Unfolding(const Json& op, const std::string& where)
        : factor_(number(op, "factor", 1e-6, 100, where)),
          offset_(number(op, "offset", 0, 1e4, where)),
          stretch_(op.at("stretch", where).integer(0, 1, where + ": stretch") == 1) {}

    std::int64_t positions(std::int64_t length) const {
        constexpr double kRounding = 1e-9;  // of factor |s|, a whole number more often than its product
        return static_cast<std::int64_t>(std::ceil(factor_ * static_cast<double>(length) + offset_ - kRounding));
    }

    // Columns [length][channels] to [positions(length)][channels].
    void unfold(const float* columns, std::int64_t length, std::size_t channels, float* made) const {
        const std::int64_t count = positions(length);
        for (std::int64_t t = 0; t < count; ++t, made += channels) {
            const std::int64_t from = stretch_ ? (2 * t + 1) * length / (2 * count) : t;
            if (from < length) {
                std::copy_n(columns + static_cast<std::size_t>(from) * channels, channels, made);
            } else {
                std::fill_n(made, channels, 0.0f);
            }
        }
    }

   private:
    double factor_ = 1, offset_ = 0;
    bool stretch_ = false;
};

}  // namespace seqgen
