#include "stack.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostLayers = 256, kMostDilation = 1 << 15, kMostUnits = 1 << 12;
constexpr std::uint32_t kNothing = kClasses;  // the symbol whose embedding is zero: before the start of a stream
constexpr std::size_t kHead = sizeof(std::uint64_t) + StackLanes::kMostTaps * sizeof(std::uint32_t);

std::int64_t rows_of(const std::vector<std::int64_t>& shape) { return shape[0]; }

}  // namespace

Stack::Stack(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
             const std::string& where)
    : kernels_(&kernels), format_(format) {
    read_shape(op, tensors, where);
    read_front(op, tensors, where);
    read_gates(op.at("gates", where), tensors, where);
    const std::size_t layers = gates_.size();
    std::vector<int> z(gate_, -1), all(layers * gate_, -1);
    for (std::size_t unit = 0; unit < units_; ++unit) {
        z[unit] = static_cast<int>(unit);
        for (std::size_t l = 0; l < layers; ++l) all[l * gate_ + unit] = static_cast<int>(l * units_ + unit);
    }
    const auto& residuals = op.at("residuals", where).list(where);
    if (residuals.size() + 1 != layers) {
        throw Failure(SEQGEN_FORMAT, where + ": 'residuals' is not one fewer than 'gates'");
    }
    for (const Json& names : residuals) {
        residuals_.push_back(layer(names, tensors, z, Activations::state, where));
        if (residuals_.back().height != channels_) {
            throw Failure(SEQGEN_FORMAT, where + ": a residual matrix of another height than the first convolution's");
        }
    }
    const auto plain = [](std::size_t count) { return Source::plain(nullptr, 0, count).columns; };
    skip_ = layer(op.at("skip", where), tensors, all, Activations::state, where);
    head_ = layer(op.at("head", where), tensors, plain(skip_.height), Activations::rectified, where);
    out_ = layer(op.at("out", where), tensors, plain(head_.height), Activations::rectified, where);
    if (out_.height != kClasses) throw Failure(SEQGEN_FORMAT, where + ": 'out' does not make 256 logits");
}

void Stack::read_shape(const Json& op, const Tensors& tensors, const std::string& where) {
    taps_ = static_cast<std::size_t>(op.at("kernel", where).integer(2, StackLanes::kMostTaps, where + ": kernel"));
    std::vector<std::int64_t> shape = {kClasses, -1};
    tensors.floats(op.at("embedding", where).string(where), shape);
    channels_ = static_cast<std::size_t>(shape[1]);
    residual_ = padded(channels_);
    const auto& dilations = op.at("dilations", where).list(where);
    if (dilations.empty() || dilations.size() > kMostLayers) {
        throw Failure(SEQGEN_FORMAT, where + ": " + std::to_string(dilations.size()) + " layers, known are 1 to 256");
    }
    for (const Json& each : dilations) {
        const auto dilation = static_cast<std::size_t>(each.integer(1, kMostDilation, where + ": dilations"));
        rings_.push_back({rows_, (taps_ - 1) * dilation, dilation});
        rows_ += rings_.back().length;
    }
}

// The first convolution reads embedded symbols: of each tap there is one row of numbers for each symbol.
void Stack::read_front(const Json& op, const Tensors& tensors, const std::string& where) {
    const auto width = static_cast<std::int64_t>(channels_);
    std::vector<std::int64_t> shape = {kClasses, width};
    const std::vector<float> embedding = tensors.floats(op.at("embedding", where).string(where), shape);
    shape = {width, width, -1};
    const std::vector<float> weight = tensors.floats(op.at("front_weight", where).string(where), shape);
    if (shape[2] > static_cast<std::int64_t>(StackLanes::kMostTaps)) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": a first convolution of more than 8 taps");
    }
    front_ = static_cast<std::size_t>(shape[2]);
    for (std::size_t tap = 0; tap < front_; ++tap) {
        Aligned<float> table((kClasses + 1) * residual_);
        for (std::size_t symbol = 0; symbol < kClasses; ++symbol) {
            for (std::size_t row = 0; row < channels_; ++row) {
                double sum = 0;
                for (std::size_t i = 0; i < channels_; ++i) {
                    sum += static_cast<double>(weight[(row * channels_ + i) * front_ + tap]) *
                           embedding[symbol * channels_ + i];
                }
                table[symbol * residual_ + row] = static_cast<float>(sum);
            }
        }
        tables_.push_back(std::move(table));
    }
    shape = {width};
    const std::vector<float> bias = tensors.floats(op.at("front_bias", where).string(where), shape);
    front_bias_ = Aligned<float>(residual_);
    std::copy(bias.begin(), bias.end(), front_bias_.data());
}

// Rows of a layer: the tanh's, then the sigmoid's, in the units of `filter` or `filter_quick`. Each tap has a matrix.
void Stack::read_gates(const Json& names, const Tensors& tensors, const std::string& where) {
    const auto& list = names.list(where);
    if (list.size() != rings_.size()) throw Failure(SEQGEN_FORMAT, where + ": not as many 'gates' as 'dilations'");
    for (const Json& name : list) {
        std::vector<std::int64_t> shape = {-1, static_cast<std::int64_t>(taps_ * channels_)};
        const std::vector<float> weights = tensors.floats(name.string(where), shape);
        const auto units = static_cast<std::size_t>(rows_of(shape)) / 2;
        if (shape[0] % 2 != 0 || shape[0] > kMostUnits || (units_ != 0 && units != units_)) {
            throw Failure(SEQGEN_FORMAT, where + ": gates of " + std::to_string(shape[0]) + " rows");
        }
        units_ = units;
        gate_ = padded(units);
        std::vector<Packed> taps;
        for (std::size_t tap = 0; tap < taps_; ++tap) {
            Source source{weights.data(), taps_ * channels_, {}, {}, {}};
            source.rows.assign(2 * gate_, -1);
            source.columns.assign(residual_, -1);
            source.factor.assign(2 * gate_, 1.0f);
            for (std::size_t row = 0; row < 2 * units; ++row) {
                const std::size_t at = row / units * gate_ + row % units;
                source.rows[at] = static_cast<int>(row);
                source.factor[at] = exponent_factor(format_, row < units);
            }
            for (std::size_t i = 0; i < channels_; ++i) source.columns[i] = static_cast<int>(tap * channels_ + i);
            taps.emplace_back(source, format_, Activations::state, *kernels_);
        }
        gates_.push_back(std::move(taps));
    }
}

Stack::Layer Stack::layer(const Json& names, const Tensors& tensors, const std::vector<int>& columns,
                          Activations activations, const std::string& where) const {
    const auto& pair = names.list(where);
    if (pair.size() != 2) throw Failure(SEQGEN_FORMAT, where + ": a layer is a weight and a bias");
    const auto width = 1 + static_cast<std::int64_t>(*std::max_element(columns.begin(), columns.end()));
    std::vector<std::int64_t> shape = {-1, width};
    const std::vector<float> weights = tensors.floats(pair[0].string(where), shape);
    const auto height = static_cast<std::size_t>(rows_of(shape));
    Source source = Source::plain(weights.data(), height, static_cast<std::size_t>(width));
    source.columns = columns;
    shape = {static_cast<std::int64_t>(height)};
    const std::vector<float> bias = tensors.floats(pair[1].string(where), shape);
    Layer made{Packed(source, format_, activations, *kernels_), Aligned<float>(padded(height)), height};
    std::copy(bias.begin(), bias.end(), made.bias.data());
    return made;
}

void Stack::arrange(const float* vector, float* made) const {
    std::fill_n(made, given(), 0.0f);
    for (std::size_t row = 0; row < 2 * gates_.size(); ++row) {
        const float factor = exponent_factor(format_, row % 2 == 0);
        for (std::size_t unit = 0; unit < units_; ++unit) {
            made[row * gate_ + unit] = factor * vector[row * units_ + unit];
        }
    }
}

template <typename Size>
std::size_t Stack::of_all(Size&& size) const {
    std::size_t sum = size(skip_.matrix) + size(head_.matrix) + size(out_.matrix);
    for (const auto& taps : gates_) {
        for (const Packed& tap : taps) sum += size(tap);
    }
    for (const Layer& residual : residuals_) sum += size(residual.matrix);
    return sum;
}

std::size_t Stack::blocks() const {
    return of_all([](const Packed& matrix) { return matrix.blocks(); });
}

std::size_t Stack::bytes() const {
    return of_all([](const Packed& matrix) { return matrix.bytes(); });
}

std::size_t Stack::row_bytes() const {
    return format_ == SEQGEN_FORMAT_INT8 ? residual_ + sizeof(float) : residual_ * sizeof(float);
}

std::size_t Stack::state_bytes() const { return (kHead + rows_ * row_bytes() + 3) / 4 * 4; }

// As if the input of every layer had been zero for ever.
void Stack::init(unsigned char* state) const {
    std::memset(state, 0, state_bytes());
    const std::uint32_t nothing = kNothing;
    for (std::size_t i = 0; i < StackLanes::kMostTaps; ++i) {
        std::memcpy(state + sizeof(std::uint64_t) + i * sizeof nothing, &nothing, sizeof nothing);
    }
    if (format_ != SEQGEN_FORMAT_INT8) return;
    const std::uint8_t zero = kernels_->unsigned_activations ? 128 : 0;
    for (std::size_t row = 0; row < rows_; ++row) std::memset(state + kHead + row * row_bytes(), zero, residual_);
}

bool Stack::fits(const unsigned char* state) const {
    std::uint32_t symbols[StackLanes::kMostTaps];
    std::memcpy(symbols, state + sizeof(std::uint64_t), sizeof symbols);
    return std::all_of(std::begin(symbols), std::end(symbols), [](std::uint32_t symbol) { return symbol <= kNothing; });
}

void Stack::load(StackLanes& lanes, int stream, unsigned char* state) const {
    StackLanes::Stream& own = lanes.stream[stream];
    std::memcpy(&own.time, state, sizeof own.time);
    std::memcpy(own.symbols, state + sizeof own.time, sizeof own.symbols);
    own.rings = state + kHead;
}

void Stack::save(const StackLanes& lanes, int stream, unsigned char* state) const {
    const StackLanes::Stream& own = lanes.stream[stream];
    std::memcpy(state, &own.time, sizeof own.time);
    std::memcpy(state + sizeof own.time, own.symbols, sizeof own.symbols);
}

}  // namespace seqgen
