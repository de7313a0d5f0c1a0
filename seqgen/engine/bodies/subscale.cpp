#include "bodies/subscale.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostHorizon = 1 << 12;
constexpr std::int64_t kMostLookAhead = std::int64_t{64} << 16;

void copy(unsigned char*& to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    to += bytes;
}

}  // namespace

Subscale::Subscale(const Json& op, const Tensors& tensors, const WaveRnn& cell, const Timing& timing,
                   seqgen_format format, const Kernels& kernels, const std::string& where)
    : cell_(cell), kernels_(kernels), format_(format) {
    const std::int64_t lanes = op.at("lanes", where).integer(2, kMostLookAhead, where + ": lanes");
    if (lanes > SEQGEN_MAX_STREAMS) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": " + std::to_string(lanes) + " lanes; known are 2 to 16");
    }
    lanes_ = static_cast<std::size_t>(lanes);
    horizon_ = static_cast<std::size_t>(op.at("horizon", where).integer(0, kMostHorizon, where + ": horizon"));
    unit_ = static_cast<float>(op.at("unit", where).real(where));
    if (!(unit_ > 0) || !std::isfinite(unit_) || !std::isfinite(32768 / unit_)) {
        throw Failure(SEQGEN_FORMAT, where + ": 'unit' is no positive float32 number");
    }
    check(timing,
          static_cast<std::size_t>(op.at("look_ahead", where).integer(0, kMostLookAhead, where + ": look_ahead")), where);
    context_ = std::make_unique<LaneContext>(op, tensors, lanes_, format, kernels, where);
    load_leave(op.at("leave", where), tensors, where + ": leave");
}

// What is given out waits for the look-ahead, filled up to whole lane steps, and for the last lane.
void Subscale::check(const Timing& timing, std::size_t look_ahead, const std::string& where) {
    const auto wrong = [&](const std::string& what) { throw Failure(SEQGEN_FORMAT, where + ": " + what); };
    if (timing.hop % lanes_ != 0) {
        wrong(std::to_string(lanes_) + " lanes do not divide the hop of " + std::to_string(timing.hop) + " samples");
    }
    fill_ = (lanes_ - look_ahead % lanes_) % lanes_;
    const std::size_t latency = look_ahead + fill_ + ahead();
    if (latency != timing.latency) {
        wrong("lanes with this look-ahead have a latency of " + std::to_string(latency) + ", the program says " +
              std::to_string(timing.latency));
    }
    frames_ = (fill_ + ahead() + timing.hop - 1) / timing.hop + 2;
}

void Subscale::load_leave(const Json& op, const Tensors& tensors, const std::string& where) {
    const auto rows = static_cast<std::int64_t>(6 * cell_.units()), width = static_cast<std::int64_t>(context_->width());
    std::vector<std::int64_t> shape = {rows, width};
    const std::vector<float> weight = tensors.floats(op.at("weight", where).string(where), shape);
    leave_ = PackedMatrix(cell_.arranged(weight.data(), context_->width()), format_, Activations::state, kernels_);
    shape = {rows};
    const std::vector<float> bias = tensors.floats(op.at("bias", where).string(where), shape);
    bias_ = AlignedArray<float>(cell_.gates());
    cell_.arrange(bias.data(), bias_.data());
}

// The last lane makes samples then, and the first convolution of each has read as many steps as it has taps.
std::size_t Subscale::settled() const { return depth() + std::max(horizon_, context_->taps() - 1); }

// From what the first convolution of the last lane reads to what the first lane makes.
std::size_t Subscale::steps() const {
    return std::max(depth() + 1, (lanes_ - 2) * lag() + 1 + context_->taps());
}

void Subscale::arrange(const float* vector, float* made) const {
    cell_.arrange(vector, made);
    for (std::size_t i = 0; i < bias_.size(); ++i) made[i] += bias_[i];
}

void Subscale::tell(const float* residual, std::uint8_t* bytes, Rows<float> told, float* scales, int rows) const {
    const std::size_t channels = context_->channels();
    std::fill_n(scales, rows, 1.0f);
    if (format_ != SEQGEN_FORMAT_INT8) return leave_(leave_.all(), Rows<const float>{residual, channels}, told, rows);
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
        scales[row] = kernels_.scaled_bytes(residual + row * channels, channels, bytes + row * channels);
    }
    leave_(leave_.all(), Rows<const std::uint8_t>{bytes, channels}, told, rows);
}

std::size_t Subscale::state_bytes(std::size_t conditioning) const {
    const std::size_t lane = 2 * cell_.half() + context_->carried();
    const std::size_t floats = lanes_ * lane + frames_ * cell_.gates() + conditioning;
    return sizeof(Place) + floats * sizeof(float) + steps() * lanes_ * sizeof(std::int16_t);
}

void Subscale::init(unsigned char* state, const float* vector, const std::uint32_t (&start)[2],
                    const float* conditioning, std::size_t count) const {
    Place place{};
    for (auto& bytes : place.bytes) {
        for (int which = 0; which < 2; ++which) bytes[which] = static_cast<std::uint8_t>(start[which]);
    }
    copy(state, &place, sizeof place);
    state += lanes_ * 2 * cell_.half() * sizeof(float);  // zero, as all samples are
    for (std::size_t frame = 0; frame < frames_; ++frame) copy(state, vector, cell_.gates() * sizeof(float));
    state += lanes_ * context_->carried() * sizeof(float);
    copy(state, conditioning, count * sizeof(float));
}

bool Subscale::fits(const unsigned char* state, bool waits) const {
    Place place;
    std::memcpy(&place, state, sizeof place);
    if (place.step >= steps() || place.frame >= frames_) return false;
    if (place.taken == 0) return place.step == 0;
    return place.taken >= depth() + horizon_ && place.taken <= settled() && !waits;
}

}  // namespace seqgen
