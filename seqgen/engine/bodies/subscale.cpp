#include "bodies/subscale.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostHorizon = 1 << 12;
constexpr std::int64_t kMostLookAhead = std::int64_t{64} << 16;

}  // namespace

Subscale::Subscale(const BodySource& source, const WaveRnn& network)
    : network_(network), kernels_(source.kernels), format_(source.format) {
    const Json& op = source.op;
    const std::string& where = source.where;
    const std::int64_t lanes = op.at("lanes", where).integer(2, kMostLookAhead, where + ": lanes");
    if (lanes > SEQGEN_MAX_STREAMS) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": " + std::to_string(lanes) + " lanes; known are 2 to 16");
    }
    lanes_ = static_cast<std::size_t>(lanes);
    horizon_ = static_cast<std::size_t>(op.at("horizon", where).integer(0, kMostHorizon, where + ": horizon"));
    unit_ = static_cast<float>(op.at("unit", where).real(where));
    source.expect(unit_ > 0 && std::isfinite(unit_) && std::isfinite(32768 / unit_),
                  "'unit' is no positive float32 number");
    read_sizes(source);
    context_ = std::make_unique<LaneContext>(op, source.tensors, lanes_, format_, kernels_, where);
    read_output(op.at("leave", where), source.tensors, where + ": leave");
}

// What is given out waits for the look-ahead, filled up to whole lane steps, and for the last lane.
void Subscale::read_sizes(const BodySource& source) {
    const Json& look_ahead_op = source.op.at("look_ahead", source.where);
    const auto look_ahead =
        static_cast<std::size_t>(look_ahead_op.integer(0, kMostLookAhead, source.where + ": look_ahead"));
    source.expect(source.hop % lanes_ == 0, std::to_string(lanes_) + " lanes do not divide the hop of " +
                                                std::to_string(source.hop) + " samples");
    fill_ = (lanes_ - look_ahead % lanes_) % lanes_;
    const std::size_t latency = look_ahead + fill_ + ahead();
    source.expect(latency == source.latency, "lanes with this look-ahead have a latency of " + std::to_string(latency) +
                                                 ", the program says " + std::to_string(source.latency));
    frames_ = (fill_ + ahead() + source.hop - 1) / source.hop + 2;
}

void Subscale::read_output(const Json& op, const Tensors& tensors, const std::string& where) {
    const auto rows = static_cast<std::int64_t>(6 * network_.units());
    std::vector<std::int64_t> shape = {rows, static_cast<std::int64_t>(context_->width())};
    const std::vector<float> weight = tensors.floats(op.at("weight", where).string(where), shape);
    output_ = PackedMatrix(network_.arranged(weight.data(), context_->width()), format_, Activations::state, kernels_);
    shape = {rows};
    const std::vector<float> bias = tensors.floats(op.at("bias", where).string(where), shape);
    bias_ = AlignedArray<float>(network_.gates());
    network_.arrange(bias.data(), bias_.data());
}

// The last lane makes samples then, and the first convolution of each has read as many steps as it has taps.
std::size_t Subscale::settled() const { return depth() + std::max(horizon_, context_->taps() - 1); }

// From what the first convolution of the last lane reads to what the first lane makes.
std::size_t Subscale::steps() const { return std::max(depth() + 1, (lanes_ - 2) * lag() + 1 + context_->taps()); }

void Subscale::arrange(const float* vector, float* made) const {
    network_.arrange(vector, made);
    for (std::size_t i = 0; i < bias_.size(); ++i) made[i] += bias_[i];
}

void Subscale::condition(const float* residual, std::uint8_t* bytes, Rows<float> made, float* scales, int rows) const {
    const std::size_t channels = context_->channels();
    std::fill_n(scales, rows, 1.0f);
    if (format_ != SEQGEN_FORMAT_INT8) return output_(output_.all(), Rows<const float>{residual, channels}, made, rows);
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
        scales[row] = kernels_.quantise_scaled(residual + row * channels, channels, bytes + row * channels);
    }
    output_(output_.all(), Rows<const std::uint8_t>{bytes, channels}, made, rows);
}

BodyStateBytes Subscale::state_bytes() const {
    const std::size_t lane = 2 * network_.half() + context_->carried();
    const std::size_t floats = lanes_ * lane + frames_ * network_.gates();
    return {sizeof(Place) + floats * sizeof(float), steps() * lanes_ * sizeof(std::int16_t)};
}

void Subscale::init(const BodyState& state, const float* vector, const std::uint32_t (&start)[2]) const {
    Place place{};
    for (auto& bytes : place.bytes) {
        for (int half = 0; half < 2; ++half) bytes[half] = static_cast<std::uint8_t>(start[half]);
    }
    std::memcpy(state.before, &place, sizeof place);
    const std::size_t bytes = network_.gates() * sizeof(float);
    unsigned char* vectors = state.before + sizeof place + lanes_ * network_.state_bytes();
    for (std::size_t frame = 0; frame < frames_; ++frame) std::memcpy(vectors + frame * bytes, vector, bytes);
}

bool Subscale::fits(const unsigned char* before, bool waits) const {
    Place place;
    std::memcpy(&place, before, sizeof place);
    if (place.step >= steps() || place.frame >= frames_) return false;
    if (place.taken == 0) return place.step == 0;
    return place.taken >= depth() + horizon_ && place.taken <= settled() && !waits;
}

}  // namespace seqgen
