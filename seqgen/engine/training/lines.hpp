// Sums of lines, as conditioning between frames is: those that all rows share and those of a row's own.
#pragma once

#include <cstddef>

#include "kernels/kernels.hpp"

namespace seqgen {

constexpr std::size_t kSharing = 2;  // rows that add up the gradients of the shared lines

template <typename Line>
struct Lines {
    Line* first;
    std::size_t count;
};

// The lines of a width that weigh anything, each with its coefficient; how many there are.
template <typename Line, typename Found>
std::size_t gather(const float* coefficients, Lines<Line> shared, Lines<Line> own, std::size_t width, Found* to) {
    std::size_t count = 0;
    const auto add = [&](const float* by, const Lines<Line>& lines) {
        for (std::size_t i = 0; i < lines.count; ++i) {
            if (by[i] != 0.0f) to[count++] = {by[i], lines.first + i * width};
        }
    };
    add(coefficients, shared);
    add(coefficients + shared.count, own);
    return count;
}

}  // namespace seqgen
