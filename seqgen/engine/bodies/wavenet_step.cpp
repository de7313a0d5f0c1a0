// One pass of a WaveNet.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "bodies/wavenet.hpp"
#include "kernels/functions.hpp"

namespace seqgen {
namespace {

// A row, a multiple of 16 bytes: a call of memcpy would take longer than the copy.
inline void copy_row(void* to, const void* from, std::size_t bytes) {
    auto* made = static_cast<unsigned char*>(to);
    const auto* given = static_cast<const unsigned char*>(from);
    for (std::size_t at = 0; at < bytes; at += 16) std::memcpy(made + at, given + at, 16);
}

// Numbers of 8 bits between a state, which has two's complement, and kernels of any instruction set.
inline void copy_bytes(std::uint8_t* to, const std::uint8_t* from, std::size_t count, bool offset) {
    const std::uint64_t flipped = offset ? 0x8080808080808080u : 0;
    for (std::size_t at = 0; at < count; at += sizeof flipped) {
        std::uint64_t eight;
        std::memcpy(&eight, from + at, sizeof eight);
        eight ^= flipped;
        std::memcpy(to + at, &eight, sizeof eight);
    }
}

}  // namespace

// Rows share what they read of the weights: where there are many, a few groups at a time, which stay at hand for all.
void WaveNet::apply(const PackedMatrix& matrix, Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> y,
                    int rows) const {
    constexpr std::uint32_t kTogether = 4;
    const std::uint32_t every = matrix.all().last, step = rows > SEQGEN_MAX_STREAMS ? kTogether : every;
    for (std::uint32_t first = 0; first < every; first += step) {
        const Span groups = {first, std::min(first + step, every)};
        matrix.takes_bytes() ? matrix(groups, bytes, y, rows) : matrix(groups, x, y, rows);
    }
}

// The first convolution.
void WaveNet::enter(WaveNetBuffers& buffers, const int* before) const {
    const std::size_t at = gates_.size() * 2 * gate_;
    for (int row = 0; row < buffers.rows(); ++row) {
        const int s = row / buffers.times;
        const std::size_t gain = static_cast<std::size_t>(s) * vector() + at;
        float* made = buffers.residual + static_cast<std::size_t>(row) * residual_;
        if (gain_) buffers.gain[row] = buffers.from[gain] + buffers.weights[row % buffers.times] * buffers.delta[gain];
        std::copy_n(front_bias_.data(), residual_, made);
        if (reads_symbols()) {
            enter_symbol(buffers.stream[s], before[s], made);
        } else {
            enter_real(buffers.stream[s], buffers.previous[row], gain_ ? buffers.gain[row] : 0.0f, made);
        }
        if (context_) add_context(buffers, s, reads_symbols() ? before[s] : 0);
    }
    buffers.new_frame = false;
}

// Conditioning of the gates besides that by frames: the context's newest output, which may have read this very element.
void WaveNet::add_context(WaveNetBuffers& buffers, int stream, int symbol) const {
    WaveNetBuffers::Stream& own = buffers.stream[stream];
    const bool made =
        reads_symbols() ? context_->take(own.context, symbol) : context_->take(own.context, own.inputs[front_ - 1]);
    if (!made && !buffers.new_frame) return;
    const std::size_t at = static_cast<std::size_t>(stream) * vector();
    std::copy_n(buffers.from + at, vector(), buffers.with_context + at);
    add_gates(own.context.held, buffers.with_context + at);
}

void WaveNet::enter_symbol(WaveNetBuffers::Stream& own, int symbol, float* made) const {
    std::copy(own.symbols + 1, own.symbols + front_, own.symbols);
    own.symbols[front_ - 1] = static_cast<std::uint32_t>(symbol);
    for (std::size_t tap = 0; tap < front_; ++tap) {
        const float* row = tables_[tap].data() + own.symbols[tap] * residual_;
        for (std::size_t i = 0; i < residual_; ++i) made[i] += row[i];
    }
}

void WaveNet::enter_real(WaveNetBuffers::Stream& own, float value, float gain, float* made) const {
    std::copy(own.inputs + 1, own.inputs + front_, own.inputs);
    const float factor = gain_ ? exponential(-gain) : 1.0f;
    constexpr float kMostInput = 1e30f;  // infinity would be no state to go on from
    own.inputs[front_ - 1] = std::clamp(value * factor * inverse_unit_, -kMostInput, kMostInput);
    for (std::size_t tap = 0; tap < front_; ++tap) {
        const float *column = columns_[tap].data(), input = own.inputs[tap];
        for (std::size_t i = 0; i < residual_; ++i) made[i] += column[i] * input;
    }
}

// A row of a ring; returns what 127 stands for in 8 bits.
float WaveNet::read_row(const unsigned char* row, float* made, std::uint8_t* bytes) const {
    float size = 1.0f;
    if (format_ == SEQGEN_FORMAT_INT8) {
        copy_bytes(bytes, row, residual_, kernels_->unsigned_activations);
        std::memcpy(&size, row + residual_, sizeof size);
    } else {
        copy_row(made, row, row_bytes());
    }
    return size;
}

// Far taps read what has long been there, so that their products for some samples to come can be made together: rows
// share what they read of the weights, which is what takes the time of a sample. Many streams share it anyway.
void WaveNet::prepare(WaveNetBuffers& buffers) const {
    const auto most = std::min<std::int64_t>(WaveNetBuffers::kMostPrepared / buffers.streams, buffers.samples_left);
    buffers.prepared = most > 1 ? static_cast<int>(most) : 0;
    buffers.used = 0;
    if (buffers.prepared == 0) return;
    const int rows = buffers.streams * buffers.prepared;
    for (std::size_t layer = 0; layer < rings_.size(); ++layer) {
        const Ring& ring = rings_[layer];
        for (std::size_t tap = 0; tap < ring.far; ++tap) {
            const std::size_t index = ring.far_before + tap;
            for (int r = 0; r < rows; ++r) {
                const WaveNetBuffers::Stream& own = buffers.stream[r / buffers.prepared];
                const auto row = static_cast<std::size_t>(r), later = static_cast<std::size_t>(r % buffers.prepared);
                const std::size_t at = row * residual_;
                const std::size_t place = (own.time % ring.length + later + tap * ring.dilation) % ring.length;
                const unsigned char* from = own.rings + (ring.start + place) * row_bytes();
                buffers.far_sizes[row * far_ + index] = read_row(from, buffers.far_taps + at, buffers.far_bytes + at);
            }
            apply(gates_[layer][tap], {buffers.far_taps, residual_}, {buffers.far_bytes, residual_},
                  {buffers.far_products + index * 2 * gate_, far_ * 2 * gate_}, rows);
        }
    }
}

void WaveNet::recall(WaveNetBuffers& buffers, const Ring& ring) const {
    for (int s = 0; s < buffers.streams; ++s) {
        for (int time = 0; time < buffers.times; ++time) recall(buffers, ring, s, time);
    }
}

// What a layer reads: rows of its ring (of far taps only their sizes, see prepare), then what enters it, which takes
// the place of the oldest row. So later samples of a pass find those before them.
void WaveNet::recall(WaveNetBuffers& buffers, const Ring& ring, int stream, int time) const {
    const bool small = format_ == SEQGEN_FORMAT_INT8, offset = kernels_->unsigned_activations;
    const std::size_t width = row_bytes(), newest = taps_ - 1, far = buffers.prepared > 0 ? ring.far : 0;
    const WaveNetBuffers::Stream& own = buffers.stream[stream];
    const std::size_t index = static_cast<std::size_t>(stream * buffers.times + time), at = index * residual_;
    float* sizes = buffers.sizes + index * taps_;
    unsigned char* rows = own.rings + ring.start * width;
    const auto now = static_cast<std::size_t>((own.time + static_cast<std::uint64_t>(time)) % ring.length);
    if (far > 0) std::copy_n(buffers.far_sizes + far_row(buffers, stream) * far_ + ring.far_before, far, sizes);
    std::size_t place = now + far * ring.dilation;
    for (std::size_t tap = far; tap < newest; ++tap) {
        if (place >= ring.length) place -= ring.length;
        sizes[tap] = read_row(rows + place * width, buffers.taps[tap] + at, buffers.tap_bytes[tap] + at);
        place += ring.dilation;
    }
    unsigned char* row = rows + now * width;
    sizes[newest] = 1.0f;
    if (small) {
        std::uint8_t* bytes = buffers.tap_bytes[newest] + at;
        sizes[newest] = kernels_->quantise_scaled(buffers.residual + at, residual_, bytes);
        copy_bytes(row, bytes, residual_, offset);
        std::memcpy(row + residual_, sizes + newest, sizeof(float));
    } else {
        copy_row(row, buffers.residual + at, width);
    }
}

void WaveNet::filter(WaveNetBuffers& buffers, std::size_t layer) const {
    const bool small = format_ == SEQGEN_FORMAT_INT8;
    const std::size_t first = layer * 2 * gate_, behind = skips_ ? layer * gate_ : 0;
    const std::size_t far = buffers.prepared > 0 ? rings_[layer].far : 0;
    for (std::size_t tap = far; tap < taps_; ++tap) {
        const float* x = !small && tap + 1 == taps_ ? buffers.residual : buffers.taps[tap];
        apply(gates_[layer][tap], {x, residual_}, {buffers.tap_bytes[tap], residual_},
              {buffers.products[tap], 2 * gate_}, buffers.rows());
    }
    for (int r = 0; r < buffers.rows(); ++r) {
        const auto row = static_cast<std::size_t>(r), stream = static_cast<std::size_t>(r / buffers.times);
        const std::size_t z = row * gated() + behind, at = stream * vector() + first;
        Filter call = {(context_ ? buffers.with_context : buffers.from) + at,
                       buffers.delta + at,
                       {},
                       buffers.sizes + row * taps_,
                       static_cast<int>(taps_),
                       buffers.weights[r % buffers.times],
                       buffers.gated + z,
                       buffers.gated_bytes + z,
                       gate_};
        for (std::size_t tap = 0; tap < far; ++tap) {
            call.products[tap] =
                buffers.far_products + (far_row(buffers, r) * far_ + rings_[layer].far_before + tap) * 2 * gate_;
        }
        for (std::size_t tap = far; tap < taps_; ++tap) call.products[tap] = buffers.products[tap] + row * 2 * gate_;
        small ? kernels_->filter_quick(call) : kernels_->filter(call);
    }
}

// Behind a product: y = max(multiplier * y + bias, 0), with a new multiplier where the matrix that reads y takes 8
// bits. Where that takes floats the multiplier is 1: nothing that was rectified into 8 bits comes before it.
void WaveNet::rectify(WaveNetBuffers& buffers, const Layer& layer, const Layer& next, float* y,
                      std::uint8_t* bytes) const {
    const std::size_t count = layer.bias.size();
    for (int row = 0; row < buffers.rows(); ++row) {
        const std::size_t at = static_cast<std::size_t>(row) * count;
        float& multiplier = buffers.multiplier[row];
        if (next.matrix.takes_bytes()) {
            multiplier = kernels_->rectify_and_quantise(y + at, layer.bias.data(), multiplier, count, bytes + at);
        } else {
            kernels_->rectify(y + at, layer.bias.data(), count);
        }
    }
}

void WaveNet::advance(WaveNetBuffers& buffers, const int* before) const {
    const std::size_t all = gated(), skip = skip_.bias.size(), head = head_.bias.size();
    const int rows = buffers.rows();
    if (buffers.used == buffers.prepared && buffers.samples_left > 0) prepare(buffers);
    enter(buffers, before);
    for (std::size_t layer = 0; layer < gates_.size(); ++layer) {
        recall(buffers, rings_[layer]);
        filter(buffers, layer);
        if (layer == residuals_.size()) break;
        const Layer& residual = residuals_[layer];
        const std::size_t behind = skips_ ? layer * gate_ : 0;
        apply(residual.matrix, {buffers.gated + behind, all}, {buffers.gated_bytes + behind, all},
              {buffers.products[0], residual_}, rows);
        for (int row = 0; row < rows; ++row) {
            const std::size_t at = static_cast<std::size_t>(row) * residual_;
            kernels_->accumulate(buffers.residual + at, buffers.products[0] + at, 1.0f, residual.bias.data(),
                                 residual_);
        }
    }
    for (int s = 0; s < buffers.streams; ++s) buffers.stream[s].time += static_cast<std::uint64_t>(buffers.times);
    buffers.used += buffers.prepared > 0;
    std::fill_n(buffers.multiplier, rows, 1.0f);
    if (skips_) {
        apply(skip_.matrix, {buffers.gated, all}, {buffers.gated_bytes, all}, {buffers.skip, skip}, rows);
    } else {
        std::copy_n(buffers.residual, static_cast<std::size_t>(rows) * residual_, buffers.skip);
    }
    rectify(buffers, skip_, head_, buffers.skip, buffers.skip_bytes);
    apply(head_.matrix, {buffers.skip, skip}, {buffers.skip_bytes, skip}, {buffers.head, head}, rows);
    rectify(buffers, head_, out_, buffers.head, buffers.head_bytes);
    apply(out_.matrix, {buffers.head, head}, {buffers.head_bytes, head}, {buffers.logits, out_.bias.size()}, rows);
}

Logits WaveNet::logits(const WaveNetBuffers& buffers, int row) const {
    return {buffers.logits + static_cast<std::size_t>(row) * kClasses, out_.bias.data(), buffers.multiplier[row],
            kernels_};
}

float* WaveNet::outputs(WaveNetBuffers& buffers, int row) const {
    const std::size_t count = out_.bias.size();
    float* made = buffers.logits + static_cast<std::size_t>(row) * count;
    for (std::size_t k = 0; k < count; ++k) made[k] = made[k] * buffers.multiplier[row] + out_.bias[k];
    return made;
}

float* WaveNet::params(WaveNetBuffers& buffers, int row, const Distribution& distribution) const {
    float* made = outputs(buffers, row);
    if (gain_) distribution.amplify(made, buffers.gain[row]);
    return made;
}

}  // namespace seqgen
