// Reaches, histories and taps of a stack of causal, dilated convolutions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/kernels.hpp"
#include "training/packed.hpp"

namespace seqgen {

// Positions that go through all layers together: what one leaves the next is in the nearest cache.
constexpr std::size_t kTogether = 64;

// How far back layers read.
struct Reaches {
    std::vector<std::size_t> dilations, reaches, before;  // of each layer; reaches of the layers before it
    std::size_t history = 0;                              // sum of reaches

    Reaches(const std::int64_t* given, std::size_t layers, std::size_t taps) {
        for (std::size_t layer = 0; layer < layers; ++layer) {
            dilations.push_back(static_cast<std::size_t>(given[layer]));
            reaches.push_back((taps - 1) * dilations.back());
            before.push_back(history);
            history += reaches.back();
        }
    }
};

// Room of one thread, at the place of the first of its rows.
template <typename T>
class Rooms {
  public:
    Rooms(std::size_t rows, std::size_t each) : each_(each), all_(rows * each) {}
    T* of(std::size_t first) { return all_.data() + first * each_; }

  private:
    std::size_t each_;
    std::vector<T> all_;
};

// Rows of numbers in the format of a product's inputs, with zeros beyond them.
template <typename T>
void enter(const Kernels& kernels, const float* from, std::size_t count, std::size_t rows, std::size_t stride, T* to) {
    for (std::size_t i = 0; i < rows; ++i) {
        write(kernels, from + i * count, count, to + i * stride);
        std::fill(to + i * stride + count, to + (i + 1) * stride, T{});
    }
}

// Lays the older taps of a position before its newest one, and zeros behind them. `rows` are those of a layer, `stride` apart;
// `older` is what it read before the first of them.
template <typename T>
void beside(const Reaches& of, std::size_t layer, std::size_t taps, std::size_t width, std::size_t stride, const T* older,
            T* rows, std::size_t now) {
    const std::size_t newest = (taps - 1) * width, reach = of.reaches[layer];
    T* const to = rows + now * stride;
    for (std::size_t tap = 0; tap + 1 < taps; ++tap) {
        const std::size_t back = reach - tap * of.dilations[layer];
        const T* const from = now >= back ? rows + (now - back) * stride + newest : older + (reach + now - back) * width;
        std::copy_n(from, width, to + tap * width);
    }
    std::fill(to + taps * width, to + stride, T{});
}

// What of the history before a block is still that of what follows it: where the block is shorter than a reach.
inline void keep_history(const Reaches& of, std::size_t steps, std::size_t width, const float* heard, float* ahead) {
    for (std::size_t layer = 0; layer < of.reaches.size(); ++layer) {
        if (of.reaches[layer] <= steps) continue;
        float* const to = ahead + of.before[layer] * width;
        const std::size_t count = (of.reaches[layer] - steps) * width;
        if (heard == nullptr) std::fill_n(to, count, 0.0f);
        else std::copy_n(heard + (of.before[layer] + steps) * width, count, to);
    }
}

}  // namespace seqgen
