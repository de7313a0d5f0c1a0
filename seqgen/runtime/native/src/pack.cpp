#include "pack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "failure.hpp"

namespace seqgen {
namespace {

constexpr std::size_t kMostColumns = std::size_t{1} << 16;
constexpr std::size_t kRows = static_cast<std::size_t>(kLanes);

// The nearest bfloat16, ties to even; finite numbers only.
std::uint16_t bfloat16(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// Columns that one block covers: 64 bytes over 16 rows.
std::size_t block_width(seqgen_format format) {
    return format == SEQGEN_FORMAT_INT8 ? 4 : format == SEQGEN_FORMAT_BF16 ? 2 : 1;
}

// Whether any of 16 rows holds something in these columns.
template <typename T>
bool occupied(const T* tile, std::size_t stride, std::size_t column, std::size_t width) {
    for (std::size_t row = 0; row < kRows; ++row) {
        for (std::size_t k = 0; k < width; ++k) {
            if (tile[row * stride + column + k] != 0) return true;
        }
    }
    return false;
}

}  // namespace

Source Source::plain(const float* weights, std::size_t height, std::size_t width) {
    Source source{weights, width, {}, {}, {}};
    source.rows.assign(padded(height), -1);
    source.columns.assign(padded(width), -1);
    for (std::size_t row = 0; row < height; ++row) source.rows[row] = static_cast<int>(row);
    for (std::size_t column = 0; column < width; ++column) source.columns[column] = static_cast<int>(column);
    source.factor.assign(source.rows.size(), 1.0f);
    return source;
}

Packed::Packed(const Source& source, seqgen_format format, Activations activations, const Kernels& kernels)
    : kernels_(&kernels), format_(format), activations_(activations) {
    const std::size_t height = source.rows.size(), width = source.columns.size();
    if (width > kMostColumns) {
        throw Failure(SEQGEN_UNSUPPORTED, "a matrix of " + std::to_string(width) + " columns; at most 65536 are known");
    }
    std::vector<Group> groups(height / kRows);
    std::vector<float> dense(kRows * width);
    for (std::size_t first = 0; first < height; first += kRows) {
        for (std::size_t i = 0; i < kRows; ++i) {
            const int row = source.rows[first + i];
            for (std::size_t column = 0; column < width; ++column) {
                const int from = source.columns[column];
                const bool there = row >= 0 && from >= 0;
                const std::size_t at = static_cast<std::size_t>(std::max(row, 0)) * source.width;
                dense[i * width + column] = there ? source.weights[at + static_cast<std::size_t>(from)] : 0.0f;
            }
        }
        groups[first / kRows].row = static_cast<std::uint32_t>(first);
        pack_group(source, dense, groups[first / kRows]);
    }
    join(groups);
}

// The groups' arrays one after the other, each group given back as soon as it is copied.
void Packed::join(std::vector<Group>& groups) {
    std::size_t blocks = 0;
    for (const Group& group : groups) blocks += group.columns.size();
    weights_ = Aligned<std::uint8_t>(blocks * kBlockBytes);
    scale_ = Aligned<float>(groups.size() * kRows);
    base_ = Aligned<std::int32_t>(groups.size() * kRows);
    columns_.reserve(blocks);
    std::uint8_t* to = weights_.data();
    for (std::size_t i = 0; i < groups.size(); ++i) {
        Group group = std::move(groups[i]);
        starts_.push_back(static_cast<std::uint32_t>(columns_.size()));
        columns_.insert(columns_.end(), group.columns.begin(), group.columns.end());
        to = std::copy(group.weights.begin(), group.weights.end(), to);
        std::copy_n(group.scale, kRows, scale_.data() + i * kRows);
        std::copy_n(group.base, kRows, base_.data() + i * kRows);
    }
    starts_.push_back(static_cast<std::uint32_t>(columns_.size()));
    matrix_ = {static_cast<std::uint32_t>(groups.size()),
               starts_.data(),
               columns_.data(),
               weights_.data(),
               scale_.data(),
               base_.data()};
}

void Packed::pack_group(const Source& source, const std::vector<float>& dense, Group& group) const {
    const std::size_t width = source.columns.size(), step = block_width(format_);
    const float* factor = source.factor.data() + group.row;
    const auto emit = [&](const void* block, std::size_t column) {
        const auto* bytes = static_cast<const std::uint8_t*>(block);
        group.weights.insert(group.weights.end(), bytes, bytes + kBlockBytes);
        group.columns.push_back(static_cast<std::uint16_t>(column));
    };
    std::vector<std::int8_t> small(format_ == SEQGEN_FORMAT_INT8 ? kRows * width : 0);
    for (std::size_t i = 0; i < kRows && !small.empty(); ++i) {
        quantise(dense.data() + i * width, static_cast<int>(i), group, small.data() + i * width, width);
        group.scale[i] *= factor[i];
    }
    for (std::size_t column = 0; column < width; column += step) {
        if (format_ == SEQGEN_FORMAT_INT8) {
            if (!occupied(small.data(), width, column, step)) continue;
            std::int8_t block[kLanes][4];
            for (std::size_t i = 0; i < kRows; ++i) std::memcpy(block[i], small.data() + i * width + column, 4);
            emit(block, column);
            continue;
        }
        if (!occupied(dense.data(), width, column, step)) continue;
        float full[kLanes];
        std::uint16_t half[kLanes][2];
        for (std::size_t i = 0; i < kRows; ++i) {
            const float* from = dense.data() + i * width + column;
            full[i] = from[0] * factor[i];
            for (std::size_t k = 0; k < 2; ++k) half[i][k] = k < step ? bfloat16(from[k] * factor[i]) : 0;
        }
        emit(format_ == SEQGEN_FORMAT_BF16 ? static_cast<const void*>(half) : full, column);
    }
}

// One scale a row: the largest weight becomes 127. The base adds up what the activations' zero points contribute.
void Packed::quantise(const float* row, int lane, Group& group, std::int8_t* made, std::size_t count) const {
    float largest = 0;
    for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(row[i]));
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < count && largest > 0; ++i) {
        made[i] = static_cast<std::int8_t>(std::lrint(static_cast<double>(row[i]) / largest * 127));
        sum += made[i];
    }
    std::int64_t base = activations_ == Activations::rectified ? 127 * sum : 0;
    if (kernels_->unsigned_activations) base -= 128 * sum;
    group.base[lane] = static_cast<std::int32_t>(base);
    group.scale[lane] = activations_ == Activations::state ? largest / 127 / 127 : largest / 127;
}

void Packed::operator()(Span groups, Rows<const float> x, Rows<float> y, int streams) const {
    const auto product = format_ == SEQGEN_FORMAT_BF16 ? kernels_->product_bf16 : kernels_->product_f32;
    product(matrix_, groups, x, y, streams);
}

void Packed::operator()(Span groups, Rows<const std::uint8_t> x, Rows<float> y, int streams) const {
    kernels_->product_i8(matrix_, groups, x, y, streams);
}

}  // namespace seqgen
