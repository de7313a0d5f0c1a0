// Packed matrices: dense float32 weights in the blocks that the kernels read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "kernels/kernels.hpp"
#include "seqgen_engine.h"

namespace seqgen {

inline std::size_t padded(std::size_t count) { return (count + kSimdWidth - 1) / kSimdWidth * kSimdWidth; }

// What the rows of a gate come multiplied by, see Gates in kernels.hpp.
inline float exponent_factor(seqgen_format format, bool tanh) {
    constexpr double kLog2E = 1.4426950408889634, kPiece = 0.6;
    const double unit = format == SEQGEN_FORMAT_INT8 ? 1 / kPiece : -kLog2E;
    return static_cast<float>(tanh ? 2 * unit : unit);
}

// 64-byte aligned, zeroed memory. Raises std::bad_alloc.
template <typename T>
class AlignedArray {
   public:
    AlignedArray() = default;
    explicit AlignedArray(std::size_t count) : size_(count), data_(allocate(count)) {}
    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t index) { return data_.get()[index]; }
    const T& operator[](std::size_t index) const { return data_.get()[index]; }

   private:
    struct Free {
        void operator()(T* pointer) const { std::free(pointer); }
    };
    static T* allocate(std::size_t count);
    std::size_t size_ = 0;
    std::unique_ptr<T, Free> data_;
};

// Activations that a matrix is applied to: they decide how 8 bits stand for numbers.
enum class Activations {
    state,     // x = q / 127, in [-1, 1]
    rectified  // x = multiplier * (q + 127), not negative
};

// Source of a packed matrix: a dense one, and where its rows and columns go. Row r of the packed matrix is `factor[r]`
// times row `rows[r]` of `weights`, or zero where that is -1; the same for columns.
struct MatrixSource {
    const float* weights;
    std::size_t width;  // columns of `weights`
    std::vector<int> rows, columns;
    std::vector<float> factor;
    std::size_t part = 0;  // rows that a Span may part from the others: packed, they stay together; 0: all of them

    // A row of the packed matrix, without its factor.
    void read(std::size_t row, float* made) const;

    // Rows and columns in their own order, padded to whole blocks.
    static MatrixSource plain(const float* weights, std::size_t height, std::size_t width);
};

// Matrix of weights in the blocks that kernels read; it owns the arrays that a Matrix points to.
class PackedMatrix {
   public:
    PackedMatrix() = default;

    // Raises Failure(SEQGEN_UNSUPPORTED) for more columns than a 16-bit index reaches.
    PackedMatrix(const MatrixSource& source, seqgen_format format, Activations activations, const Kernels& kernels);

    // Some groups of y = W x for rows of floats; not for int8.
    void operator()(Span groups, Rows<const float> x, Rows<float> y, int streams) const;
    void operator()(Span groups, Rows<const std::uint8_t> x, Rows<float> y, int streams) const;

    bool takes_bytes() const { return format_ == SEQGEN_FORMAT_INT8; }
    Span all() const { return {0, matrix_.groups}; }
    std::size_t blocks() const { return weights_.size() / kBlockBytes; }
    std::size_t bytes() const { return weights_.size() + columns_.size() * sizeof(std::uint16_t); }

   private:
    // The blocks of one group of 16 rows.
    struct Group {
        std::size_t row = 0;
        std::vector<std::uint16_t> columns;
        std::vector<std::uint32_t> words;
        float scale[kSimdWidth] = {};
        std::int32_t base[kSimdWidth] = {};
    };
    MatrixSource arranged(const MatrixSource& given);
    void pack_group(const MatrixSource& source, Group& group) const;
    void pack_blocks(const std::vector<std::uint32_t>& words, Group& group) const;
    void pack_strips(const std::vector<std::uint32_t>& words, Group& group) const;
    void quantise(const float* row, int lane, Group& group, std::int8_t* made, std::size_t count) const;
    void join(std::vector<Group>& groups);
    std::uint32_t dense() const;

    const Kernels* kernels_ = nullptr;
    seqgen_format format_ = SEQGEN_FORMAT_FLOAT32;
    Activations activations_ = Activations::state;
    std::vector<std::uint32_t> starts_, strips_;
    std::vector<std::uint16_t> columns_;
    AlignedArray<std::uint8_t> weights_;
    AlignedArray<float> scale_;
    AlignedArray<std::int32_t> base_;
    Matrix matrix_;
};

template <typename T>
T* AlignedArray<T>::allocate(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
    void* made = nullptr;
#if defined(__ANDROID__)  // whose C library has aligned_alloc from API level 28 on
    if (::posix_memalign(&made, 64, bytes == 0 ? 64 : bytes) != 0) made = nullptr;
#else
    made = std::aligned_alloc(64, bytes == 0 ? 64 : bytes);
#endif
    if (made == nullptr) throw std::bad_alloc();
    T* values = static_cast<T*>(made);
    for (std::size_t i = 0; i < count; ++i) values[i] = T{};
    return values;
}

}  // namespace seqgen
