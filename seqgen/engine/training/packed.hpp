// Matrices as the kernels of training read them, and rows in the format that they take.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "kernels/kernels.hpp"
#include "training/shared_out.hpp"

namespace seqgen {

constexpr std::size_t kPairs = 16;  // of a group of bfloat16 weights there are a multiple

// Zeros in as large pages as the system has: of some thousand small ones a processor does not know all places at once.
class Zeros {
  public:
    Zeros() : data_(nullptr, Free{kBlockBytes}) {}
    explicit Zeros(std::size_t count) {
        const std::size_t wanted = std::max<std::size_t>(count, 1) * sizeof(float);
        const std::size_t page = wanted >= kPage / 2 ? kPage : kBlockBytes, bytes = up(wanted, page);
        auto* const made = static_cast<float*>(::operator new(bytes, std::align_val_t(page)));
        data_ = std::unique_ptr<float, Free>(made, Free{page});
#if defined(__linux__)
        if (page == kPage) madvise(made, bytes, MADV_HUGEPAGE);  // a wish: nothing is lost where it fails
#endif
        std::memset(made, 0, bytes);
    }
    float* data() { return data_.get(); }

  private:
    static constexpr std::size_t kPage = std::size_t{1} << 21;
    struct Free {
        std::size_t aligned;
        void operator()(float* data) const { ::operator delete(data, std::align_val_t(aligned)); }
    };
    std::unique_ptr<float, Free> data_;
};

// A matrix as the kernels read it, and rows of its products. T is what its inputs are made of.
template <typename T>
class Packed {
  public:
    // Element (row, column) of the matrix is at(row, column).
    template <typename At>
    Packed(std::size_t rows, std::size_t columns, At at) {
        constexpr std::size_t kPer = sizeof(float) / sizeof(T);  // inputs of a vector
        made_.groups = up(rows, kSimdWidth) / kSimdWidth;
        made_.steps = up(columns, kPer * (kPer > 1 ? kPairs : 1)) / kPer;
        weights_ = Zeros(made_.groups * made_.steps * kSimdWidth);
        auto* to = reinterpret_cast<T*>(weights_.data());
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t group = row / kSimdWidth, lane = row % kSimdWidth;
            for (std::size_t column = 0; column < columns; ++column) {
                const std::size_t vector = group * made_.steps + column / kPer;
                to[(vector * kSimdWidth + lane) * kPer + column % kPer] = rounded(at(row, column));
            }
        }
        made_.weights = weights_.data();
    }

    std::size_t inputs() const { return made_.steps * sizeof(float) / sizeof(T); }
    std::size_t outputs() const { return made_.groups * kSimdWidth; }

    // Rows of x lie inputs() apart, rows of y outputs().
    void multiply(const Kernels& kernels, const T* x, float* y, std::size_t rows) const {
        if constexpr (sizeof(T) == sizeof(float)) {
            kernels.dense_f32(made_, {x, inputs()}, {y, outputs()}, rows);
        } else {
            kernels.dense_bf16(made_, {x, inputs()}, {y, outputs()}, rows);
        }
    }

  private:
    static T rounded(float value) {
        if constexpr (sizeof(T) == sizeof(float)) return value;
        else return narrowed(value);
    }

    Zeros weights_;
    Dense made_;
};

inline void write(const Kernels&, const float* from, std::size_t count, float* to) { std::copy_n(from, count, to); }
inline void write(const Kernels& kernels, const float* from, std::size_t count, std::uint16_t* to) {
    kernels.to_bf16(from, count, to);
}

// Numbers in float32: where they lie, or in the room given.
inline const float* read(const Kernels&, const float* from, std::size_t, float*) { return from; }
inline const float* read(const Kernels& kernels, const std::uint16_t* from, std::size_t count, float* room) {
    kernels.from_bf16(from, count, room);
    return room;
}

}  // namespace seqgen
