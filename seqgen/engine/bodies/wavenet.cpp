#include "bodies/wavenet.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "layers/bias.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostLayers = 256, kMostDilation = 1 << 15, kMostUnits = 1 << 12;
constexpr std::uint32_t kNothing = kClasses;  // the symbol whose embedding is zero: before the start of a stream
constexpr std::size_t kHead = sizeof(std::uint64_t) + WaveNetBuffers::kMostTaps * sizeof(std::uint32_t);

std::int64_t rows_of(const std::vector<std::int64_t>& shape) { return shape[0]; }

}  // namespace

WaveNet::WaveNet(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
                 std::optional<LogGain> gain, const std::string& where)
    : kernels_(&kernels), format_(format), gain_(gain), skips_(op.find("skip") != nullptr) {
    read_front(op, tensors, where);
    read_shape(op, where);
    read_gates(op.at("gates", where), tensors, where);
    std::vector<int> z(gate_, -1);
    for (std::size_t unit = 0; unit < units_; ++unit) z[unit] = static_cast<int>(unit);
    const auto& residuals = op.at("residuals", where).list(where);
    if (residuals.size() + skips_ != gates_.size()) {
        throw Failure(SEQGEN_FORMAT,
                      where + ": 'residuals' is not " + (skips_ ? "one fewer than" : "as many as") + " 'gates'");
    }
    for (const Json& names : residuals) {
        residuals_.push_back(layer(names, tensors, z, format_, Activations::state, where));
        if (residuals_.back().height != channels_) {
            throw Failure(SEQGEN_FORMAT, where + ": a residual matrix of another height than the first convolution's");
        }
    }
    read_head(op, tensors, where);
    if (const Json* context = op.find("context")) {
        context_.emplace(*context, tensors, format, kernels, 2 * gates_.size() * units_, where + ": context");
        if (context_->reads_symbols() != reads_symbols()) {
            throw Failure(SEQGEN_FORMAT, where + ": the context and the first convolution read different elements");
        }
    }
}

// What the gated units of all layers, or the residual stream behind the last, become.
void WaveNet::read_head(const Json& op, const Tensors& tensors, const std::string& where) {
    const auto plain = [](std::size_t count) { return MatrixSource::plain(nullptr, 0, count).columns; };
    if (skips_) {
        std::vector<int> all(gates_.size() * gate_, -1);
        for (std::size_t l = 0; l < gates_.size(); ++l) {
            for (std::size_t unit = 0; unit < units_; ++unit)
                all[l * gate_ + unit] = static_cast<int>(l * units_ + unit);
        }
        skip_ = layer(op.at("skip", where), tensors, all, format_, Activations::state, where);
    } else {
        skip_.bias = AlignedArray<float>(residual_);
        skip_.height = channels_;
    }
    // Distributions of real numbers can be as narrow as a step of 16 bits: 8-bit matrices in these two places alone
    // cost a teacher 1.2 nats a sample on recordings that are multiples of 256, and less than 0.01 nats in all others.
    const auto format = !reads_symbols() && format_ == SEQGEN_FORMAT_INT8 ? SEQGEN_FORMAT_BF16 : format_;
    head_ = layer(op.at("head", where), tensors, plain(skip_.height), format, Activations::rectified, where);
    out_ = layer(op.at("out", where), tensors, plain(head_.height), format, Activations::rectified, where);
}

void WaveNet::read_shape(const Json& op, const std::string& where) {
    taps_ = static_cast<std::size_t>(op.at("kernel", where).integer(2, WaveNetBuffers::kMostTaps, where + ": kernel"));
    const auto& dilations = op.at("dilations", where).list(where);
    if (dilations.empty() || dilations.size() > kMostLayers) {
        throw Failure(SEQGEN_FORMAT, where + ": " + std::to_string(dilations.size()) + " layers, known are 1 to 256");
    }
    for (const Json& each : dilations) {
        const auto dilation = static_cast<std::size_t>(each.integer(1, kMostDilation, where + ": dilations"));
        const std::size_t newest = taps_ - 1, near = std::min(newest, (WaveNetBuffers::kMostPrepared - 1) / dilation);
        rings_.push_back({rows_, newest * dilation, dilation, newest - near, far_});
        rows_ += rings_.back().length;
        far_ += rings_.back().far;
    }
}

// The first convolution: over embedded symbols where there is an embedding, else over one real number.
void WaveNet::read_front(const Json& op, const Tensors& tensors, const std::string& where) {
    const bool symbols = op.find("embedding") != nullptr;
    std::vector<std::int64_t> shape = {-1, symbols ? -1 : 1, -1};
    const std::vector<float> weight = tensors.floats(op.at("front_weight", where).string(where), shape);
    if (shape[2] > static_cast<std::int64_t>(WaveNetBuffers::kMostTaps)) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": a first convolution of more than 8 taps");
    }
    if (symbols && shape[0] != shape[1])
        throw Failure(SEQGEN_FORMAT, where + ": a first convolution that is not square");
    channels_ = static_cast<std::size_t>(shape[0]);
    residual_ = padded(channels_);
    front_ = static_cast<std::size_t>(shape[2]);
    symbols ? read_tables(op, tensors, weight, where) : read_columns(op, weight, where);
    front_bias_ = read_bias(tensors, op.at("front_bias", where).string(where), channels_);
}

// Of each tap there is one row of numbers for each symbol.
void WaveNet::read_tables(const Json& op, const Tensors& tensors, const std::vector<float>& weight,
                          const std::string& where) {
    std::vector<std::int64_t> shape = {kClasses, static_cast<std::int64_t>(channels_)};
    const std::vector<float> embedding = tensors.floats(op.at("embedding", where).string(where), shape);
    for (std::size_t tap = 0; tap < front_; ++tap) {
        AlignedArray<float> table((kClasses + 1) * residual_);
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
}

// Of each tap there is one column; what it is multiplied with are samples in units of `unit`.
void WaveNet::read_columns(const Json& op, const std::vector<float>& weight, const std::string& where) {
    constexpr double kLeast = 1e-6, kMost = 1e6;
    inverse_unit_ = static_cast<float>(1 / number(op, "unit", kLeast, kMost, where));
    for (std::size_t tap = 0; tap < front_; ++tap) {
        AlignedArray<float> column(residual_);
        for (std::size_t row = 0; row < channels_; ++row) column[row] = weight[row * front_ + tap];
        columns_.push_back(std::move(column));
    }
}

// Rows of a layer: the tanh's, then the sigmoid's, in the units of `filter` or `filter_quick`. Each tap has a matrix.
void WaveNet::read_gates(const Json& names, const Tensors& tensors, const std::string& where) {
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
        std::vector<PackedMatrix> taps;
        for (std::size_t tap = 0; tap < taps_; ++tap) {
            MatrixSource source{weights.data(), taps_ * channels_, {}, {}, {}};
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

WaveNet::Layer WaveNet::layer(const Json& names, const Tensors& tensors, const std::vector<int>& columns,
                              seqgen_format format, Activations activations, const std::string& where) const {
    const auto& pair = names.list(where);
    if (pair.size() != 2) throw Failure(SEQGEN_FORMAT, where + ": a layer is a weight and a bias");
    const auto width = 1 + static_cast<std::int64_t>(*std::max_element(columns.begin(), columns.end()));
    std::vector<std::int64_t> shape = {-1, width};
    const std::vector<float> weights = tensors.floats(pair[0].string(where), shape);
    const auto height = static_cast<std::size_t>(rows_of(shape));
    MatrixSource source = MatrixSource::plain(weights.data(), height, static_cast<std::size_t>(width));
    source.columns = columns;
    return {PackedMatrix(source, format, activations, *kernels_), read_bias(tensors, pair[1].string(where), height),
            height};
}

void WaveNet::arrange(const float* vector, float* made) const {
    std::fill_n(made, this->vector(), 0.0f);
    add_gates(vector, made);
    if (gain_) made[2 * gates_.size() * gate_] = gain_->spread * vector[channels() - 1] + gain_->origin;
}

// Numbers for the gates of all layers, in their own layout and units.
void WaveNet::add_gates(const float* vector, float* made) const {
    for (std::size_t row = 0; row < 2 * gates_.size(); ++row) {
        const float factor = exponent_factor(format_, row % 2 == 0);
        for (std::size_t unit = 0; unit < units_; ++unit) {
            made[row * gate_ + unit] += factor * vector[row * units_ + unit];
        }
    }
}

template <typename Size>
std::size_t WaveNet::of_all(Size&& size) const {
    std::size_t sum = size(skip_.matrix) + size(head_.matrix) + size(out_.matrix);
    for (const auto& taps : gates_) {
        for (const PackedMatrix& tap : taps) sum += size(tap);
    }
    for (const Layer& residual : residuals_) sum += size(residual.matrix);
    return sum;
}

std::size_t WaveNet::blocks() const {
    return of_all([](const PackedMatrix& matrix) { return matrix.blocks(); });
}

std::size_t WaveNet::bytes() const {
    return of_all([](const PackedMatrix& matrix) { return matrix.bytes(); });
}

std::size_t WaveNet::row_bytes() const {
    return format_ == SEQGEN_FORMAT_INT8 ? residual_ + sizeof(float) : residual_ * sizeof(float);
}

std::size_t WaveNet::ring_bytes() const { return (kHead + rows_ * row_bytes() + 3) / 4 * 4; }

std::size_t WaveNet::state_bytes() const { return ring_bytes() + (context_ ? context_->state_bytes() : 0); }

// As if the input of every layer had been zero for ever.
void WaveNet::init(unsigned char* state) const {
    std::memset(state, 0, state_bytes());
    const std::uint32_t nothing = kNothing;
    for (std::size_t i = 0; reads_symbols() && i < WaveNetBuffers::kMostTaps; ++i) {
        std::memcpy(state + sizeof(std::uint64_t) + i * sizeof nothing, &nothing, sizeof nothing);
    }
    if (context_) context_->init(state + ring_bytes());
}

bool WaveNet::fits(const unsigned char* state) const {
    WaveNetBuffers::Stream found;
    static_assert(sizeof found.symbols == sizeof found.inputs, "one place for both");
    std::memcpy(found.symbols, state + sizeof found.time, sizeof found.symbols);
    std::memcpy(found.inputs, state + sizeof found.time, sizeof found.inputs);
    const auto known = [](std::uint32_t symbol) { return symbol <= kNothing; };
    const auto finite = [](float input) { return std::isfinite(input); };
    if (context_ && !context_->fits(state + ring_bytes())) return false;
    return reads_symbols() ? std::all_of(std::begin(found.symbols), std::end(found.symbols), known)
                           : std::all_of(std::begin(found.inputs), std::end(found.inputs), finite);
}

void WaveNet::reserve(WaveNetBuffers& buffers, Workspace& memory, std::size_t rows) const {
    const auto floats = [&](std::size_t count) { return memory.floats(rows * count); };
    const auto bytes = [&](std::size_t count) { return memory.bytes(rows * count); };
    const std::size_t skip = skip_.bias.size(), head = head_.bias.size();
    buffers.previous = floats(1);
    buffers.gain = floats(1);
    buffers.residual = floats(residual_);
    for (std::size_t tap = 0; tap < taps_; ++tap) {
        buffers.taps[tap] = floats(residual_);
        buffers.tap_bytes[tap] = bytes(residual_);
        buffers.products[tap] = floats(std::max(2 * gate_, residual_));
    }
    buffers.sizes = floats(taps_);
    buffers.gated = floats(gated());
    buffers.gated_bytes = bytes(gated());
    buffers.skip = floats(skip);
    buffers.head = floats(head);
    buffers.logits = floats(out_.bias.size());
    buffers.skip_bytes = bytes(skip);
    buffers.head_bytes = bytes(head);
    buffers.multiplier = floats(1);
    if (!context_) return;
    buffers.with_context = floats(vector());
    buffers.context_state = floats(context_->floats());
    buffers.scratch = floats(context_->scratch());
}

void WaveNet::reserve_far(WaveNetBuffers& buffers, Workspace& memory) const {
    const std::size_t rows = WaveNetBuffers::kMostPrepared;
    buffers.far_products = memory.floats(rows * far_ * 2 * gate_);
    buffers.far_sizes = memory.floats(rows * far_);
    buffers.far_taps = memory.floats(rows * residual_);
    buffers.far_bytes = memory.bytes(rows * residual_);
}

void WaveNet::load(WaveNetBuffers& buffers, int stream, unsigned char* state) const {
    WaveNetBuffers::Stream& own = buffers.stream[stream];
    std::memcpy(&own.time, state, sizeof own.time);
    void* inputs = reads_symbols() ? static_cast<void*>(own.symbols) : own.inputs;
    std::memcpy(inputs, state + sizeof own.time, sizeof own.symbols);
    own.rings = state + kHead;
    if (!context_) return;
    own.context.waiting = buffers.context_state + static_cast<std::size_t>(stream) * context_->floats();
    own.context.scratch = buffers.scratch + static_cast<std::size_t>(stream) * context_->scratch();
    context_->load(own.context, state + ring_bytes());
}

void WaveNet::save(const WaveNetBuffers& buffers, int stream, unsigned char* state) const {
    const WaveNetBuffers::Stream& own = buffers.stream[stream];
    std::memcpy(state, &own.time, sizeof own.time);
    const void* inputs = reads_symbols() ? static_cast<const void*>(own.symbols) : own.inputs;
    std::memcpy(state + sizeof own.time, inputs, sizeof own.symbols);
    if (context_) context_->save(own.context, state + ring_bytes());
}

}  // namespace seqgen
