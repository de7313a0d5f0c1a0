#include "subscale.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostHorizon = 1 << 12;
constexpr std::int64_t kMostLookAhead = std::int64_t{64} << 16;
constexpr std::size_t kMostOps = 4096;

void copy(unsigned char*& to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    to += bytes;
}

}  // namespace

Subscale::Subscale(const Json& op, const Tensors& tensors, const Cell& cell, const Timing& timing,
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
    load_network(op, tensors, kernels, where);
    load_leave(op, tensors, where);
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

void Subscale::load_network(const Json& op, const Tensors& tensors, const Kernels& kernels, const std::string& where) {
    // A sample has 16 bits and more is done with it here than with features, so weights are not rounded.
    network_ = Network("lanes", entering(), SEQGEN_FORMAT_FLOAT32, kernels);
    const auto& ops = op.at("ops", where).list(where);
    if (ops.size() > kMostOps) throw Failure(SEQGEN_FORMAT, where + ": more than 4096 ops");
    for (std::size_t i = 0; i < ops.size(); ++i) {
        const std::string& name = ops[i].at("op", where).string(where);
        const std::string here = where + ": op " + std::to_string(i) + " (" + name + ")";
        if (network_.append(ops[i], tensors, here)) continue;
        throw Failure(SEQGEN_UNSUPPORTED,
                      here + ": unknown op '" + name + "' here; known: normalise, slice, conv, dense, add, relu");
    }
    value_ = network_.value(op.at("in", where).string(where), where);
    leave_columns_ = padded(value_.width);
}

void Subscale::load_leave(const Json& op, const Tensors& tensors, const std::string& where) {
    const auto rows = static_cast<std::int64_t>(6 * cell_.units());
    std::vector<std::int64_t> shape = {rows, static_cast<std::int64_t>(value_.width)};
    const std::vector<float> weight = tensors.floats(op.at("weight", where).string(where), shape);
    leave_ = Packed(cell_.arranged(weight.data(), value_.width), format_, Activations::state, kernels_);
    shape = {rows};
    const std::vector<float> bias = tensors.floats(op.at("bias", where).string(where), shape);
    bias_ = Aligned<float>(cell_.gates());
    cell_.arrange(bias.data(), bias_.data());
}

void Subscale::hot(float* entering) const {
    std::fill_n(entering, lanes_ * this->entering(), 0.0f);
    for (std::size_t lane = 0; lane < lanes_; ++lane) entering[lane * this->entering() + lanes_ - 1 + lane] = 1;
}

void Subscale::arrange(const float* vector, float* made) const {
    cell_.arrange(vector, made);
    for (std::size_t i = 0; i < bias_.size(); ++i) made[i] += bias_[i];
}

void Subscale::tell(const float* scratch, std::uint8_t* bytes, Rows<float> told, float* scales, int rows) const {
    const std::size_t stride = network_.scratch();
    const float* value = scratch + value_.offset;
    std::fill_n(scales, rows, 1.0f);
    if (format_ != SEQGEN_FORMAT_INT8) return leave_(leave_.all(), Rows<const float>{value, stride}, told, rows);
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
        scales[row] = kernels_.scaled_bytes(value + row * stride, leave_columns_, bytes + row * leave_columns_);
    }
    leave_(leave_.all(), Rows<const std::uint8_t>{bytes, leave_columns_}, told, rows);
}

std::size_t Subscale::state_bytes(std::size_t conditioning) const {
    const std::size_t lane = 2 * cell_.half() + network_.initial().size();
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
    const auto& initial = network_.initial();
    for (std::size_t lane = 0; lane < lanes_; ++lane) copy(state, initial.data(), initial.size() * sizeof(float));
    copy(state, conditioning, count * sizeof(float));
}

bool Subscale::fits(const unsigned char* state, bool waits) const {
    Place place;
    std::memcpy(&place, state, sizeof place);
    const bool early = place.begun == 0 && place.step == 0;
    return place.step < steps() && place.frame < frames_ && (early || (place.begun == 1 && !waits));
}

}  // namespace seqgen
