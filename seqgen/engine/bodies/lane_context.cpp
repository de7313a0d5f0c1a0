#include "bodies/lane_context.hpp"

#include <algorithm>
#include <cstdint>

#include "layers/bias.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostDilation = 1 << 16;
constexpr std::size_t kMostCarried = std::size_t{1} << 20;
constexpr std::size_t kMostBlocks = 64;

// Columns of a convolution's weights [.., width, taps] as they lie in a window of rows `stride` wide.
void arrange(MatrixSource& source, std::size_t width, std::size_t taps, std::size_t stride, std::size_t dilation) {
    source.columns.assign(padded(((taps - 1) * dilation + 1) * stride), -1);
    for (std::size_t tap = 0; tap < taps; ++tap) {
        for (std::size_t i = 0; i < width; ++i)
            source.columns[tap * dilation * stride + i] = static_cast<int>(i * taps + tap);
    }
}

}  // namespace

LaneContext::LaneContext(const Json& op, const Tensors& tensors, std::size_t lanes, seqgen_format format,
                         const Kernels& kernels, const std::string& where)
    : kernels_(&kernels), small_(format == SEQGEN_FORMAT_INT8), lanes_(lanes) {
    enter(op.at("enter", where), tensors, where + ": enter");
    const auto& blocks = op.at("blocks", where).list(where);
    if (blocks.size() > kMostBlocks) throw Failure(SEQGEN_UNSUPPORTED, where + ": more than 64 blocks");
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        blocks_.push_back(block(blocks[i], tensors, where + ": block " + std::to_string(i)));
        if (small_) line_ = std::max(line_, blocks_.back().taps * channels_);
    }
    nothing_ = AlignedArray<float>(line_);
}

void LaneContext::enter(const Json& op, const Tensors& tensors, const std::string& where) {
    const std::size_t before = lanes_ - 1, read = before + lanes_;
    std::vector<std::int64_t> shape = {-1, static_cast<std::int64_t>(read), -1};
    const std::vector<float> weight = tensors.floats(op.at("weight", where).string(where), shape);
    width_ = static_cast<std::size_t>(shape[0]);
    channels_ = padded(width_);
    taps_ = static_cast<std::size_t>(shape[2]);
    if (taps_ * before > kMostCarried) throw Failure(SEQGEN_UNSUPPORTED, where + ": more taps than are known");
    MatrixSource source = MatrixSource::plain(weight.data(), width_, read * taps_);
    arrange(source, before, taps_, before, 1);
    enter_ = PackedMatrix(source, SEQGEN_FORMAT_FLOAT32, Activations::state, *kernels_);
    const AlignedArray<float> own = read_bias(tensors, op.at("bias", where).string(where), width_);
    hot_ = AlignedArray<float>(taps_ * lanes_ * channels_);
    for (std::size_t lane = 0; lane < lanes_; ++lane) {
        for (std::size_t channel = 0; channel < width_; ++channel) {
            const float* taps = weight.data() + (channel * read + before + lane) * taps_;
            double sum = static_cast<double>(own[channel]);
            for (std::size_t count = 0; count < taps_; ++count) {
                sum += static_cast<double>(taps[taps_ - 1 - count]);
                hot_[(count * lanes_ + lane) * channels_ + channel] = static_cast<float>(sum);
            }
        }
    }
}

LaneContext::Block LaneContext::block(const Json& op, const Tensors& tensors, const std::string& where) {
    const auto width = static_cast<std::int64_t>(width_);
    Block made;
    made.dilation = static_cast<std::size_t>(op.at("dilation", where).integer(1, kMostDilation, where));
    std::vector<std::int64_t> shape = {width, width, -1};
    const std::vector<float> conv = tensors.floats(op.at("conv_weight", where).string(where), shape);
    made.taps = static_cast<std::size_t>(shape[2]);
    if (carried_ + made.left() * channels_ > kMostCarried) {
        throw Failure(SEQGEN_UNSUPPORTED, where + ": a lane remembers more than " + std::to_string(kMostCarried) +
                                              " numbers, the most that is known");
    }
    carried_ += made.left() * channels_;
    made.history = lanes_ * histories_;
    histories_ += window(made);
    // In 8 bits the taps' rows are brought together anyway.
    MatrixSource source = MatrixSource::plain(conv.data(), width_, width_ * made.taps);
    arrange(source, width_, made.taps, channels_, small_ ? 1 : made.dilation);
    const seqgen_format format = small_ ? SEQGEN_FORMAT_INT8 : SEQGEN_FORMAT_FLOAT32;
    made.conv = PackedMatrix(source, format, Activations::rectified, *kernels_);
    shape = {width, width};
    const std::vector<float> dense = tensors.floats(op.at("dense_weight", where).string(where), shape);
    made.dense =
        PackedMatrix(MatrixSource::plain(dense.data(), width_, width_), format, Activations::rectified, *kernels_);
    made.conv_bias = read_bias(tensors, op.at("conv_bias", where).string(where), width_);
    made.dense_bias = read_bias(tensors, op.at("dense_bias", where).string(where), width_);
    return made;
}

std::size_t LaneContext::bytes() const {
    std::size_t sum = enter_.bytes();
    for (const Block& block : blocks_) sum += block.conv.bytes() + block.dense.bytes();
    return sum;
}

void LaneContext::reserve(Arrays& arrays, Workspace& memory) const {
    arrays.entering =
        memory.floats(lanes_ * window() + kSimdWidth);  // a strip's last columns may reach beyond a window
    arrays.histories = memory.floats(lanes_ * histories_ + kSimdWidth);
    arrays.residual = memory.floats(lanes_ * channels_);
    arrays.inner = memory.floats(lanes_ * channels_);
    arrays.outer = memory.floats(lanes_ * channels_);
    arrays.line = memory.floats(line_);
    arrays.bytes = memory.bytes(lanes_ * line_);
}

void LaneContext::clear(Arrays& arrays) const {
    arrays.at = 0;
    std::fill_n(arrays.entering, lanes_ * window() + kSimdWidth, 0.0f);
    std::fill_n(arrays.histories, lanes_ * histories_ + kSimdWidth, 0.0f);
}

void LaneContext::load(Arrays& arrays, std::size_t lane, const float* state) const {
    for (const Block& block : blocks_) {
        const std::size_t count = block.left() * channels_;
        std::copy_n(state, count, arrays.histories + block.history + lane * window(block) + arrays.at * channels_);
        state += count;
    }
}

void LaneContext::save(const Arrays& arrays, std::size_t lane, float* state) const {
    for (const Block& block : blocks_) {
        const std::size_t count = block.left() * channels_;
        std::copy_n(arrays.histories + block.history + lane * window(block) + arrays.at * channels_, count, state);
        state += count;
    }
}

float* LaneContext::row(Arrays& arrays, std::size_t lane, std::size_t back) const {
    return arrays.entering + lane * window() + (arrays.at + taps_ - 1 - back) * (lanes_ - 1);
}

// Brings what will be read again from the windows' end to their beginning.
void LaneContext::slide(Arrays& arrays) const {
    if (++arrays.at < kSlide) return;
    arrays.at = 0;
    const auto move = [&](float* from, std::size_t size, std::size_t kept) {
        for (std::size_t lane = 0; lane < lanes_; ++lane, from += size)
            std::copy(from + size - kept, from + size, from);
    };
    move(arrays.entering, window(), (taps_ - 1) * (lanes_ - 1));
    for (const Block& block : blocks_) {
        move(arrays.histories + block.history, window(block), block.left() * channels_);
    }
}

void LaneContext::step(Arrays& arrays, const std::size_t* counts, int rows) const {
    enter_(enter_.all(), Rows<const float>{row(arrays, 0, taps_ - 1), window()}, {arrays.residual, channels_}, rows);
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(rows); ++lane) {
        const float* hot = hot_.data() + (std::min(counts[lane], taps_ - 1) * lanes_ + lane) * channels_;
        float* x = arrays.residual + lane * channels_;
        for (std::size_t i = 0; i < channels_; ++i) x[i] += hot[i];
    }
    for (const Block& block : blocks_) small_ ? apply_small(block, arrays, rows) : apply(block, arrays, rows);
    slide(arrays);
}

// The newest rows of a block's windows; returns where the windows begin.
float* LaneContext::rectify(const Block& block, Arrays& arrays, int rows) const {
    const std::size_t size = window(block);
    float* windows = arrays.histories + block.history + arrays.at * channels_;
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(rows); ++lane) {
        const float* x = arrays.residual + lane * channels_;
        float* newest = windows + lane * size + block.left() * channels_;
        for (std::size_t i = 0; i < channels_; ++i) newest[i] = std::max(x[i], 0.0f);
    }
    return windows;
}

void LaneContext::apply(const Block& block, Arrays& arrays, int rows) const {
    const float* windows = rectify(block, arrays, rows);
    block.conv(block.conv.all(), Rows<const float>{windows, window(block)}, {arrays.inner, channels_}, rows);
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(rows); ++lane) {
        kernels_->rectify(arrays.inner + lane * channels_, block.conv_bias.data(), channels_);
    }
    block.dense(block.dense.all(), Rows<const float>{arrays.inner, channels_}, {arrays.outer, channels_}, rows);
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(rows); ++lane) {
        const std::size_t at = lane * channels_;
        kernels_->accumulate(arrays.residual + at, arrays.outer + at, 1.0f, block.dense_bias.data(), channels_);
    }
}

void LaneContext::apply_small(const Block& block, Arrays& arrays, int rows) const {
    const float* windows = rectify(block, arrays, rows);
    const std::size_t width = block.taps * channels_;
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(rows); ++lane) {
        for (std::size_t tap = 0; tap < block.taps; ++tap) {
            const float* from = windows + lane * window(block) + tap * block.dilation * channels_;
            std::copy_n(from, channels_, arrays.line + tap * channels_);
        }
        arrays.scales[lane] =
            kernels_->rectify_and_quantise(arrays.line, nothing_.data(), 1.0f, width, arrays.bytes + lane * width);
    }
    block.conv(block.conv.all(), Rows<const std::uint8_t>{arrays.bytes, width}, {arrays.inner, channels_}, rows);
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(rows); ++lane) {
        const std::size_t at = lane * channels_;
        arrays.scales[lane] = kernels_->rectify_and_quantise(arrays.inner + at, block.conv_bias.data(),
                                                             arrays.scales[lane], channels_, arrays.bytes + at);
    }
    block.dense(block.dense.all(), Rows<const std::uint8_t>{arrays.bytes, channels_}, {arrays.outer, channels_}, rows);
    for (std::size_t lane = 0; lane < static_cast<std::size_t>(rows); ++lane) {
        float* x = arrays.residual + lane * channels_;
        const float *made = arrays.outer + lane * channels_, scale = arrays.scales[lane];
        for (std::size_t i = 0; i < channels_; ++i) x[i] += scale * made[i] + block.dense_bias[i];
    }
}

}  // namespace seqgen
