// One sample of the WaveNet stack.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "functions.hpp"
#include "stack.hpp"

namespace seqgen {
namespace {

// A row, a multiple of 16 bytes: a call of memcpy would take longer than the copy.
inline void copy_row(void* to, const void* from, std::size_t bytes) {
    auto* made = static_cast<unsigned char*>(to);
    const auto* given = static_cast<const unsigned char*>(from);
    for (std::size_t at = 0; at < bytes; at += 16) std::memcpy(made + at, given + at, 16);
}

}  // namespace

void Stack::apply(const Packed& matrix, Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> y,
                  int streams) const {
    if (format_ == SEQGEN_FORMAT_INT8) {
        matrix(matrix.all(), bytes, y, streams);
    } else {
        matrix(matrix.all(), x, y, streams);
    }
}

// The first convolution.
void Stack::enter(StackLanes& lanes, const int (*before)[2], float weight) const {
    const std::size_t at = gates_.size() * 2 * gate_;
    for (int s = 0; s < lanes.streams; ++s) {
        StackLanes::Stream& own = lanes.stream[s];
        const std::size_t row = static_cast<std::size_t>(s) * given();
        if (level_) own.level = lanes.from[row + at] + weight * lanes.delta[row + at];
        float* made = lanes.residual + static_cast<std::size_t>(s) * residual_;
        std::copy_n(front_bias_.data(), residual_, made);
        real() ? enter_real(own, made) : enter_symbol(own, before[s][0], made);
    }
}

void Stack::enter_symbol(StackLanes::Stream& own, int symbol, float* made) const {
    std::copy(own.symbols + 1, own.symbols + front_, own.symbols);
    own.symbols[front_ - 1] = static_cast<std::uint32_t>(symbol);
    for (std::size_t tap = 0; tap < front_; ++tap) {
        const float* row = tables_[tap].data() + own.symbols[tap] * residual_;
        for (std::size_t i = 0; i < residual_; ++i) made[i] += row[i];
    }
}

void Stack::enter_real(StackLanes::Stream& own, float* made) const {
    std::copy(own.inputs + 1, own.inputs + front_, own.inputs);
    const float quiet = level_ ? exponential(-own.level) : 1.0f;
    constexpr float kMostInput = 1e30f;  // infinity would be no state to go on from
    own.inputs[front_ - 1] = std::clamp(own.previous * quiet * inverse_unit_, -kMostInput, kMostInput);
    for (std::size_t tap = 0; tap < front_; ++tap) {
        const float *column = columns_[tap].data(), input = own.inputs[tap];
        for (std::size_t i = 0; i < residual_; ++i) made[i] += column[i] * input;
    }
}

// What a layer reads: old rows of its ring, then what enters it, which takes the place of the oldest one.
void Stack::recall(StackLanes& lanes, const Ring& ring) const {
    const bool small = format_ == SEQGEN_FORMAT_INT8;
    const std::size_t width = row_bytes();
    for (int s = 0; s < lanes.streams; ++s) {
        StackLanes::Stream& own = lanes.stream[s];
        const std::size_t at = static_cast<std::size_t>(s) * residual_;
        unsigned char* rows = own.rings + ring.start * width;
        const auto now = static_cast<std::size_t>(own.time % ring.length);
        std::size_t place = now;
        for (std::size_t tap = 0; tap + 1 < taps_; ++tap) {
            const unsigned char* row = rows + place * width;
            if (small) {
                copy_row(lanes.row_bytes[tap] + at, row, residual_);
                std::memcpy(&own.sizes[tap], row + residual_, sizeof(float));
            } else {
                copy_row(lanes.rows[tap] + at, row, width);
                own.sizes[tap] = 1.0f;
            }
            place += ring.dilation;
            if (place >= ring.length) place -= ring.length;
        }
        const std::size_t newest = taps_ - 1;
        unsigned char* row = rows + now * width;
        own.sizes[newest] = 1.0f;
        if (small) {
            std::uint8_t* bytes = lanes.row_bytes[newest] + at;
            own.sizes[newest] = kernels_->scaled_bytes(lanes.residual + at, residual_, bytes);
            copy_row(row, bytes, residual_);
            std::memcpy(row + residual_, &own.sizes[newest], sizeof(float));
        } else {
            copy_row(row, lanes.residual + at, width);
        }
    }
}

void Stack::filter(StackLanes& lanes, std::size_t layer, float weight) const {
    const bool small = format_ == SEQGEN_FORMAT_INT8;
    const std::size_t all = gates_.size() * gate_, first = layer * 2 * gate_;
    for (std::size_t tap = 0; tap < taps_; ++tap) {
        const float* x = !small && tap + 1 == taps_ ? lanes.residual : lanes.rows[tap];
        apply(gates_[layer][tap], {x, residual_}, {lanes.row_bytes[tap], residual_}, {lanes.products[tap], 2 * gate_},
              lanes.streams);
    }
    for (int s = 0; s < lanes.streams; ++s) {
        const auto row = static_cast<std::size_t>(s);
        const std::size_t z = row * all + layer * gate_;
        Filter call = {lanes.from + row * given() + first,
                       lanes.delta + row * given() + first,
                       {},
                       lanes.stream[s].sizes,
                       static_cast<int>(taps_),
                       weight,
                       lanes.gated + z,
                       lanes.gated_bytes + z,
                       gate_};
        for (std::size_t tap = 0; tap < taps_; ++tap) call.products[tap] = lanes.products[tap] + row * 2 * gate_;
        small ? kernels_->filter_quick(call) : kernels_->filter(call);
    }
}

// Behind a product: y = max(multiplier * y + bias, 0), in int8 with a new multiplier.
void Stack::rectify(StackLanes& lanes, const Layer& layer, float* y, std::uint8_t* bytes) const {
    const std::size_t count = layer.bias.size();
    for (int s = 0; s < lanes.streams; ++s) {
        const std::size_t at = static_cast<std::size_t>(s) * count;
        float& multiplier = lanes.multiplier[s];
        if (format_ == SEQGEN_FORMAT_INT8) {
            multiplier = kernels_->rectify_bytes(y + at, layer.bias.data(), multiplier, count, bytes + at);
        } else {
            kernels_->rectify(y + at, layer.bias.data(), count);
        }
    }
}

void Stack::advance(StackLanes& lanes, const int (*before)[2], float weight) const {
    const std::size_t all = gates_.size() * gate_, skip = skip_.bias.size(), head = head_.bias.size();
    const int streams = lanes.streams;
    enter(lanes, before, weight);
    for (std::size_t layer = 0; layer < gates_.size(); ++layer) {
        recall(lanes, rings_[layer]);
        filter(lanes, layer, weight);
        if (layer == residuals_.size()) break;
        const Layer& residual = residuals_[layer];
        apply(residual.matrix, {lanes.gated + layer * gate_, all}, {lanes.gated_bytes + layer * gate_, all},
              {lanes.products[0], residual_}, streams);
        for (int s = 0; s < streams; ++s) {
            const std::size_t at = static_cast<std::size_t>(s) * residual_;
            kernels_->accumulate(lanes.residual + at, lanes.products[0] + at, residual.bias.data(), residual_);
        }
    }
    for (int s = 0; s < streams; ++s) ++lanes.stream[s].time;
    std::fill_n(lanes.multiplier, streams, 1.0f);
    if (skips_) {
        apply(skip_.matrix, {lanes.gated, all}, {lanes.gated_bytes, all}, {lanes.skip, skip}, streams);
    } else {
        std::copy_n(lanes.residual, static_cast<std::size_t>(streams) * residual_, lanes.skip);
    }
    rectify(lanes, skip_, lanes.skip, lanes.skip_bytes);
    apply(head_.matrix, {lanes.skip, skip}, {lanes.skip_bytes, skip}, {lanes.head, head}, streams);
    rectify(lanes, head_, lanes.head, lanes.head_bytes);
    apply(out_.matrix, {lanes.head, head}, {lanes.head_bytes, head}, {lanes.logits, out_.bias.size()}, streams);
}

int Stack::draw(const StackLanes& lanes, int stream, float sharpness, float uniform) const {
    const float* logits = lanes.logits + static_cast<std::size_t>(stream) * kClasses;
    return kernels_->draw(logits, out_.bias.data(), lanes.multiplier[stream], sharpness, uniform);
}

void Stack::score(const StackLanes& lanes, int stream, float* logits) const {
    const float* products = lanes.logits + static_cast<std::size_t>(stream) * kClasses;
    for (std::size_t k = 0; k < kClasses; ++k) {
        logits[k] = std::fma(products[k], lanes.multiplier[stream], out_.bias[k]);
    }
}

float* Stack::parameters(StackLanes& lanes, int stream, const Emission& emission) const {
    const std::size_t count = out_.bias.size();
    float* made = lanes.logits + static_cast<std::size_t>(stream) * count;
    for (std::size_t k = 0; k < count; ++k) made[k] = made[k] * lanes.multiplier[stream] + out_.bias[k];
    if (level_) emission.louder(made, lanes.stream[stream].level);
    return made;
}

}  // namespace seqgen
