#include "bodies/bytenet.hpp"

#include <algorithm>

#include "layers/bias.hpp"
#include "layers/distribution.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostClasses = 1 << 16, kMostChannels = 1 << 14, kMostDilation = 1 << 16, kMostTaps = 64;
constexpr std::size_t kMostBlocks = 1024;
constexpr float kAnything = -3e38f;  // as the least number: nothing is rectified

std::int64_t whole(std::size_t size) { return static_cast<std::int64_t>(size); }

// A matrix of `parts` times `height` rows and `taps` times `width` columns, each part and tap padded to whole vectors.
MatrixSource in_parts(const std::vector<float>& weights, std::size_t parts, std::size_t height, std::size_t taps,
                      std::size_t width) {
    MatrixSource source{weights.data(), taps * width, {}, {}, {}};
    source.rows.assign(parts * padded(height), -1);
    source.columns.assign(taps * padded(width), -1);
    source.factor.assign(source.rows.size(), 1.0f);
    for (std::size_t row = 0; row < parts * height; ++row) {
        source.rows[row / height * padded(height) + row % height] = static_cast<int>(row);
    }
    for (std::size_t column = 0; column < taps * width; ++column) {
        source.columns[column / width * padded(width) + column % width] = static_cast<int>(column);
    }
    return source;
}

}  // namespace

void ByteNetSource::expect(bool right, const std::string& otherwise) const {
    if (!right) throw Failure(SEQGEN_FORMAT, where + ": " + otherwise);
}

std::vector<float> ByteNetSource::matrix(const Json& op, const char* key, std::vector<std::int64_t>& shape) const {
    return tensors.floats(name(op, key), shape);
}

AlignedArray<float> ByteNetSource::vector(const Json& op, const char* key, std::size_t count) const {
    return read_bias(tensors, name(op, key), count);
}

void ByteNetRows::reserve(Workspace& memory, std::size_t rows, std::size_t widest_row, std::size_t tallest) {
    widest = widest_row;
    height = tallest;
    given = memory.floats(rows * widest);
    made = memory.floats(rows * height);
    bytes = memory.bytes(rows * widest);
    std::fill_n(scales, kMost, 1.0f);
}

ByteNetNorm::ByteNetNorm(const ByteNetSource& source, const Json& op, const char* gain_name, const char* bias_name,
                         std::size_t count)
    : gain(source.vector(op, gain_name, count)), bias(source.vector(op, bias_name, count)), width(count) {}

ByteNetProduct::ByteNetProduct(const ByteNetSource& source, const MatrixSource& matrix, Activations activations)
    : matrix_(matrix, source.format, activations, source.kernels),
      activations_(activations),
      kernels_(&source.kernels),
      width_(matrix.columns.size()),
      height_(matrix.rows.size()),
      zeros_(matrix.columns.size()) {}

void ByteNetProduct::operator()(ByteNetRows& rows, int count) const {
    const Rows<float> made{rows.made, rows.height};
    if (!matrix_.takes_bytes()) return matrix_(matrix_.all(), Rows<const float>{rows.given, rows.widest}, made, count);
    for (int r = 0; r < count; ++r) {
        const std::size_t at = static_cast<std::size_t>(r) * rows.widest;
        rows.scales[r] =
            activations_ == Activations::state
                ? kernels_->quantise_scaled(rows.given + at, width_, rows.bytes + at)
                : kernels_->rectify_and_quantise(rows.given + at, zeros_.data(), 1.0f, width_, rows.bytes + at);
    }
    matrix_(matrix_.all(), Rows<const std::uint8_t>{rows.bytes, rows.widest}, made, count);
}

ByteNetBlock::ByteNetBlock(const ByteNetSource& source, const Json& op, std::size_t channels, std::size_t kernel,
                           bool rectified, float epsilon)
    : kernels_(&source.kernels), rectified_(rectified), epsilon_(epsilon), channels_(channels), kernel_(kernel) {
    const std::size_t wide = 2 * channels;
    const auto activations = rectified ? Activations::rectified : Activations::state;
    const auto product = [&](const char* key, std::size_t parts, std::size_t height, std::size_t taps,
                             std::size_t width) {
        std::vector<std::int64_t> shape = {whole(parts * height), whole(taps * width)};
        const std::vector<float> weights = source.matrix(op, key, shape);
        return ByteNetProduct(source, in_parts(weights, parts, height, taps, width), activations);
    };
    dilation_ = static_cast<std::size_t>(op.at("dilation", source.where).integer(1, kMostDilation, source.where));
    input_ = ByteNetNorm(source, op, "input_gain", "input_bias", wide);
    narrow_ = product("narrow", 1, channels, 1, wide);
    taps_ = product("taps", rectified ? 1 : 4, channels, kernel, channels);
    widen_ = product("widen", 1, wide, 1, channels);
    widen_bias_ = source.vector(op, "widen_bias", wide);
    if (rectified) {
        inner_ = ByteNetNorm(source, op, "inner_gain", "inner_bias", channels);
        output_ = ByteNetNorm(source, op, "output_gain", "output_bias", channels);
        return;
    }
    const AlignedArray<float> gain = source.vector(op, "gates_gain", 4 * channels);
    const AlignedArray<float> bias = source.vector(op, "gates_bias", 4 * channels);
    for (std::size_t part = 0; part < 4; ++part) {
        gates_[part].width = channels;
        gates_[part].gain = AlignedArray<float>(padded(channels));
        gates_[part].bias = AlignedArray<float>(padded(channels));
        const float factor = exponent_factor(SEQGEN_FORMAT_FLOAT32, part == 3);  // the gates are exact in every format
        for (std::size_t i = 0; i < channels; ++i) {
            gates_[part].gain[i] = factor * gain[part * channels + i];
            gates_[part].bias[i] = factor * bias[part * channels + i];
        }
    }
}

std::size_t ByteNetBlock::blocks() const { return narrow_.blocks() + taps_.blocks() + widen_.blocks(); }
std::size_t ByteNetBlock::bytes() const { return narrow_.bytes() + taps_.bytes() + widen_.bytes(); }

void ByteNetBlock::normalise(const ByteNetNorm& norm, const float* x, float scale, float floor, float* y) const {
    kernels_->layer_norm({x, norm.gain.data(), norm.bias.data(), norm.width, epsilon_ / (scale * scale), floor, y});
}

void ByteNetBlock::enter(Rows<const float> x, Rows<float> entered, ByteNetRows& rows, int count) const {
    const float floor = rectified_ ? 0.0f : kAnything;
    for (int r = 0; r < count; ++r) {
        const auto row = static_cast<std::size_t>(r);
        normalise(input_, x.data + row * x.stride, 1.0f, floor, rows.given + row * rows.widest);
    }
    narrow_(rows, count);
    for (int r = 0; r < count; ++r) {
        const auto row = static_cast<std::size_t>(r);
        const float* made = rows.made + row * rows.height;
        float* to = entered.data + row * entered.stride;
        if (rectified_) {
            normalise(inner_, made, rows.scales[r], 0.0f, to);
        } else {
            for (std::size_t i = 0; i < padded(channels_); ++i) to[i] = rows.scales[r] * made[i];
        }
    }
}

void ByteNetBlock::leave(Rows<float> x, ByteNetRows& rows, int count) const {
    taps_(rows, count);
    if (rectified_) {
        for (int r = 0; r < count; ++r) {
            const auto row = static_cast<std::size_t>(r);
            normalise(output_, rows.made + row * rows.height, rows.scales[r], 0.0f, rows.given + row * rows.widest);
        }
    } else {
        gate(rows, count);
    }
    widen_(rows, count);
    for (int r = 0; r < count; ++r) {
        const auto row = static_cast<std::size_t>(r);
        kernels_->accumulate(x.data + row * x.stride, rows.made + row * rows.height, rows.scales[r], widen_bias_.data(),
                             padded(2 * channels_));
    }
}

// Multiplicative units of the lines' newest taps, whose place in rows.given they take.
void ByteNetBlock::gate(ByteNetRows& rows, int count) const {
    const std::size_t units = padded(channels_);
    for (int r = 0; r < count; ++r) {
        const auto row = static_cast<std::size_t>(r);
        float *made = rows.made + row * rows.height, *given = rows.given + row * rows.widest;
        for (std::size_t part = 0; part < 4; ++part) {
            normalise(gates_[part], made + part * units, rows.scales[r], kAnything, made + part * units);
        }
        kernels_->multiply_units(made, given + (kernel_ - 1) * units, units, given);
    }
}

std::size_t bytenet_kernel(const ByteNetSource& source, const Json& op) {
    return static_cast<std::size_t>(op.at("kernel", source.where).integer(1, kMostTaps, source.where + ": kernel"));
}

std::vector<ByteNetBlock> bytenet_blocks(const ByteNetSource& source, const Json& op, std::size_t channels) {
    const std::size_t kernel = bytenet_kernel(source, op);
    const std::string& form = source.name(op, "form");
    source.expect(form == "rectified" || form == "multiplicative", "unknown form '" + form + "'");
    const auto epsilon = static_cast<float>(number(op, "epsilon", 1e-12, 1, source.where));
    const auto& described = op.at("blocks", source.where).list(source.where);
    source.expect(!described.empty() && described.size() <= kMostBlocks, "no block, or more than 1024");
    std::vector<ByteNetBlock> made;
    for (const Json& one : described) made.emplace_back(source, one, channels, kernel, form == "rectified", epsilon);
    return made;
}

ByteNetEmbedding::ByteNetEmbedding(const ByteNetSource& source, const Json& op) {
    std::vector<std::int64_t> shape = {-1, -1};
    weights = source.matrix(op, "embedding", shape);
    source.expect(shape[0] <= kMostClasses && shape[1] <= kMostChannels && shape[1] % 2 == 0,
                  "an embedding of more than 65536 symbols or 16384 channels, or of an odd number of these");
    classes = static_cast<std::size_t>(shape[0]);
    width = static_cast<std::size_t>(shape[1]);
}

void ByteNetEmbedding::read(std::size_t symbol, float* made) const {
    std::fill(std::copy_n(weights.data() + symbol * width, width, made), made + padded(width), 0.0f);
}

}  // namespace seqgen
