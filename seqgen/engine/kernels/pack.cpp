#include "kernels/pack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::size_t kMostColumns = std::size_t{1} << 16;
constexpr std::size_t kRows = static_cast<std::size_t>(kSimdWidth);

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

constexpr std::size_t kStrips = kRows / 4, kGathering = 2;

// Which columns of a matrix hold something: those of a strip of 4 rows in fours, those of 16 rows in blocks.
struct Census {
    std::vector<std::uint32_t> fours;  // of each strip
    std::size_t blocks = 0;
};

// Of marks in runs of `step` how many runs have one.
std::uint32_t held(const std::vector<std::uint8_t>& marks, std::size_t step) {
    std::uint32_t count = 0;
    for (std::size_t at = 0; at < marks.size(); at += step) {
        std::uint8_t any = 0;
        for (std::size_t k = 0; k < step; ++k) any |= marks[at + k];
        count += any;
    }
    return count;
}

Census census(const MatrixSource& source, std::size_t step) {
    const std::size_t width = source.columns.size();
    Census made;
    std::vector<std::uint8_t> strip(width), group(width);
    std::vector<float> numbers(width);
    for (std::size_t row = 0; row < source.rows.size(); ++row) {
        source.read(row, numbers.data());
        for (std::size_t i = 0; i < width; ++i) strip[i] |= numbers[i] != 0;
        if (row % 4 == 3) {
            made.fours.push_back(held(strip, 4));
            for (std::size_t i = 0; i < width; ++i) group[i] |= strip[i];
            std::fill(strip.begin(), strip.end(), std::uint8_t{0});
        }
        if (row % kRows == kRows - 1) {
            made.blocks += held(group, step);
            std::fill(group.begin(), group.end(), std::uint8_t{0});
        }
    }
    return made;
}

// Strips in groups of four that have about as many blocks each.
std::vector<std::uint32_t> sorted(const std::vector<std::uint32_t>& fours, std::size_t part) {
    std::vector<std::uint32_t> order(fours.size());
    std::iota(order.begin(), order.end(), 0u);
    for (auto first = order.begin(); first != order.end(); first += static_cast<std::ptrdiff_t>(part)) {
        std::stable_sort(first, first + static_cast<std::ptrdiff_t>(part),
                         [&](std::uint32_t a, std::uint32_t b) { return fours[a] > fours[b]; });
    }
    return order;
}

}  // namespace

MatrixSource MatrixSource::plain(const float* weights, std::size_t height, std::size_t width) {
    MatrixSource source{weights, width, {}, {}, {}};
    source.rows.assign(padded(height), -1);
    source.columns.assign(padded(width), -1);
    for (std::size_t row = 0; row < height; ++row) source.rows[row] = static_cast<int>(row);
    for (std::size_t column = 0; column < width; ++column) source.columns[column] = static_cast<int>(column);
    source.factor.assign(source.rows.size(), 1.0f);
    return source;
}

void MatrixSource::read(std::size_t row, float* made) const {
    if (rows[row] < 0) {
        std::fill_n(made, columns.size(), 0.0f);
        return;
    }
    const float* from = weights + static_cast<std::size_t>(rows[row]) * width;
    for (std::size_t i = 0; i < columns.size(); ++i) made[i] = columns[i] < 0 ? 0.0f : from[columns[i]];
}

PackedMatrix::PackedMatrix(const MatrixSource& given, seqgen_format format, Activations activations,
                           const Kernels& kernels)
    : kernels_(&kernels), format_(format), activations_(activations) {
    const std::size_t height = given.rows.size(), width = given.columns.size();
    if (width > kMostColumns) {
        throw Failure(SEQGEN_UNSUPPORTED, "a matrix of " + std::to_string(width) + " columns; at most 65536 are known");
    }
    const MatrixSource source = arranged(given);
    std::vector<Group> groups(height / kRows);
    for (std::size_t i = 0; i < groups.size(); ++i) {
        groups[i].row = i * kRows;
        pack_group(source, groups[i]);
    }
    join(groups);
}

// The matrix itself, or with its strips in order where they are worth while: 4 x 4 blocks, of which each gathers its
// activations, take twice the time of others.
MatrixSource PackedMatrix::arranged(const MatrixSource& given) {
    const std::size_t step = block_width(format_);
    const Census found = census(given, step);
    const auto order = sorted(found.fours, (given.part == 0 ? given.rows.size() : given.part) / 4);
    std::size_t blocks = 0;
    for (std::size_t first = 0; first < order.size(); first += kStrips) blocks += found.fours[order[first]] * 4 / step;
    if (kGathering * blocks >= found.blocks) return given;
    MatrixSource made = given;
    for (std::size_t row = 0; row < given.rows.size(); ++row) {
        const std::size_t from = std::size_t{order[row / 4]} * 4 + row % 4;
        made.rows[row] = given.rows[from];
        made.factor[row] = given.factor[from];
    }
    for (const std::uint32_t strip : order) strips_.push_back(4 * strip);
    return made;
}

// The groups' arrays one after the other, each group given back as soon as it is copied.
void PackedMatrix::join(std::vector<Group>& groups) {
    std::size_t words = 0;
    for (const Group& group : groups) words += group.words.size();
    weights_ = AlignedArray<std::uint8_t>(words * sizeof(std::uint32_t));
    scale_ = AlignedArray<float>(groups.size() * kRows);
    base_ = AlignedArray<std::int32_t>(groups.size() * kRows);
    const std::size_t each = strips_.empty() ? 1 : kStrips;  // columns of a block
    std::uint8_t* to = weights_.data();
    for (std::size_t i = 0; i < groups.size(); ++i) {
        const Group group = std::move(groups[i]);
        starts_.push_back(static_cast<std::uint32_t>(columns_.size() / each));
        columns_.insert(columns_.end(), group.columns.begin(), group.columns.end());
        const std::size_t bytes = group.words.size() * sizeof(std::uint32_t);
        if (bytes > 0) std::memcpy(to, group.words.data(), bytes);
        to += bytes;
        std::copy_n(group.scale, kRows, scale_.data() + i * kRows);
        std::copy_n(group.base, kRows, base_.data() + i * kRows);
    }
    starts_.push_back(static_cast<std::uint32_t>(columns_.size() / each));
    matrix_ = {static_cast<std::uint32_t>(groups.size()),
               starts_.data(),
               columns_.data(),
               weights_.data(),
               scale_.data(),
               base_.data(),
               strips_.empty() ? nullptr : strips_.data(),
               strips_.empty() ? dense() : 0};
}

// Blocks of each group where these are the same ones from column 0 on, otherwise 0.
std::uint32_t PackedMatrix::dense() const {
    const std::size_t each = starts_[1];
    for (std::size_t group = 0; group + 1 < starts_.size(); ++group) {
        if (starts_[group + 1] - starts_[group] != each) return 0;
    }
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (columns_[i] != i % each * block_width(format_)) return 0;
    }
    return static_cast<std::uint32_t>(each);
}

// 16 rows as words of what a block has of a row.
void PackedMatrix::pack_group(const MatrixSource& source, Group& group) const {
    const std::size_t width = source.columns.size(), step = block_width(format_);
    const float* factor = source.factor.data() + group.row;
    std::vector<float> numbers(width);
    std::vector<std::int8_t> small(width);
    std::vector<std::uint32_t> words(kRows * width / step);
    for (std::size_t i = 0; i < kRows; ++i) {
        std::uint32_t* word = words.data() + i * width / step;
        source.read(group.row + i, numbers.data());
        if (format_ == SEQGEN_FORMAT_INT8) {
            quantise(numbers.data(), static_cast<int>(i), group, small.data(), width);
            group.scale[i] *= factor[i];
            std::memcpy(word, small.data(), width);
            continue;
        }
        for (float& number : numbers) number = number * factor[i] + 0.0f;  // no zero but the positive one
        if (format_ == SEQGEN_FORMAT_FLOAT32) std::memcpy(word, numbers.data(), width * sizeof(float));
        for (std::size_t k = 0; k < width / 2 && format_ == SEQGEN_FORMAT_BF16; ++k) {
            word[k] = bfloat16(numbers[2 * k]) | std::uint32_t{bfloat16(numbers[2 * k + 1])} << 16;
        }
    }
    strips_.empty() ? pack_blocks(words, group) : pack_strips(words, group);
}

void PackedMatrix::pack_blocks(const std::vector<std::uint32_t>& words, Group& group) const {
    const std::size_t width = words.size() / kRows, step = block_width(format_);
    for (std::size_t at = 0; at < width; ++at) {
        std::uint32_t block[kRows], any = 0;
        for (std::size_t i = 0; i < kRows; ++i) any |= block[i] = words[i * width + at];
        if (any == 0) continue;
        group.words.insert(group.words.end(), block, block + kRows);
        group.columns.push_back(static_cast<std::uint16_t>(at * step));
    }
}

// Each strip's blocks of 4 x 4, as many as the strip with most of them has.
void PackedMatrix::pack_strips(const std::vector<std::uint32_t>& words, Group& group) const {
    const std::size_t width = words.size() / kRows, per_four = 4 / block_width(format_);
    std::vector<std::size_t> held[kStrips];
    std::size_t most = 0;
    for (std::size_t strip = 0; strip < kStrips; ++strip) {
        for (std::size_t at = 0; at < width; at += per_four) {
            std::uint32_t any = 0;
            for (std::size_t i = 0; i < 4 * per_four; ++i) {
                any |= words[(4 * strip + i / per_four) * width + at + i % per_four];
            }
            if (any != 0) held[strip].push_back(at);
        }
        most = std::max(most, held[strip].size());
    }
    for (std::size_t block = 0; block < most; ++block) {
        for (std::size_t part = 0; part < per_four; ++part) {
            for (std::size_t i = 0; i < kRows; ++i) {
                const auto& own = held[i / 4];
                group.words.push_back(block < own.size() ? words[i * width + own[block] + part] : 0);
            }
        }
        for (const auto& own : held) {
            const std::size_t at = block < own.size() ? own[block] : 0;
            group.columns.push_back(static_cast<std::uint16_t>(at / per_four * 4));
        }
    }
}

// One scale a row: the largest weight becomes 127. The base adds up what the activations' zero points contribute.
void PackedMatrix::quantise(const float* row, int lane, Group& group, std::int8_t* made, std::size_t count) const {
    float largest = 0;
    for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(row[i]));
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const double part = largest > 0 ? static_cast<double>(row[i]) / largest : 0.0;
        made[i] = static_cast<std::int8_t>(std::lrint(part * 127));
        sum += made[i];
    }
    std::int64_t base = activations_ == Activations::rectified ? 127 * sum : 0;
    if (kernels_->unsigned_activations) base -= 128 * sum;
    group.base[lane] = static_cast<std::int32_t>(base);
    group.scale[lane] = activations_ == Activations::state ? largest / 127 / 127 : largest / 127;
}

void PackedMatrix::operator()(Span groups, Rows<const float> x, Rows<float> y, int streams) const {
    const auto product = format_ == SEQGEN_FORMAT_BF16 ? kernels_->product_bf16 : kernels_->product_f32;
    product(matrix_, groups, x, y, streams);
}

void PackedMatrix::operator()(Span groups, Rows<const std::uint8_t> x, Rows<float> y, int streams) const {
    kernels_->product_i8(matrix_, groups, x, y, streams);
}

}  // namespace seqgen
