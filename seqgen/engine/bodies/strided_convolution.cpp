#include "bodies/strided_convolution.hpp"

#include <algorithm>

#include "layers/bias.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostStride = 1 << 16, kMostTaps = 1 << 16, kMostChannels = 1 << 14;
constexpr std::size_t kMostColumns = 1 << 16;
// Bytes of the weights that all rows are multiplied with before the next ones: they stay in the nearer caches.
constexpr std::size_t kSpanBytes = 1 << 17;

}  // namespace

StridedConvolution::StridedConvolution(const BodySource& source, const Json& op, std::size_t width, bool of_samples)
    : kernels_(&source.kernels), width_(width), pitch_(of_samples ? 1 : padded(width)) {
    const auto named = [&](const char* name) { return op.at(name, source.where).string(source.where); };
    stride_ = static_cast<std::size_t>(op.at("stride", source.where).integer(1, kMostStride, source.where));
    std::vector<std::int64_t> shape = {-1, static_cast<std::int64_t>(width), -1};
    const std::vector<float> weights = source.tensors.floats(named("weight"), shape);
    source.expect(shape[0] <= kMostChannels && shape[2] <= kMostTaps, "more than 16384 channels or 65536 taps");
    channels_ = static_cast<std::size_t>(shape[0]);
    kernel_ = static_cast<std::size_t>(shape[2]);
    source.expect(stride_ <= kernel_, "a stride above its kernel");
    source.expect(kernel_ * pitch_ <= kMostColumns, "taps of more than 65536 numbers in all");
    const seqgen_format format = of_samples ? SEQGEN_FORMAT_FLOAT32 : source.format;
    matrix_ = PackedMatrix(taps(weights.data()), format, Activations::rectified, source.kernels);
    const std::size_t groups = matrix_.all().last;
    span_ = std::max<std::size_t>(1, kSpanBytes * groups / std::max<std::size_t>(1, matrix_.bytes()));
    bias_ = read_bias(source.tensors, named("bias"), channels_);
    zeros_ = AlignedArray<float>(padded(kernel_ * pitch_));
    normalised_ = op.find("gain") != nullptr;
    if (!normalised_) return;
    gain_ = read_bias(source.tensors, named("gain"), channels_);
    norm_bias_ = read_bias(source.tensors, named("norm_bias"), channels_);
    epsilon_ = static_cast<float>(op.at("epsilon", source.where).real(source.where));
    source.expect(epsilon_ > 0 && epsilon_ < 1, "'epsilon' lies outside (0, 1)");
}

// Weights [channels, width, taps] with the taps of an output in the order of a line.
MatrixSource StridedConvolution::taps(const float* weights) const {
    MatrixSource source = MatrixSource::plain(weights, channels_, kernel_ * width_);
    source.columns.assign(padded(kernel_ * pitch_), -1);
    for (std::size_t tap = 0; tap < kernel_; ++tap) {
        for (std::size_t i = 0; i < width_; ++i) {
            source.columns[tap * pitch_ + i] = static_cast<int>(i * kernel_ + tap);
        }
    }
    return source;
}

float* StridedConvolution::line(Workspace& memory, std::size_t inputs) const {
    return memory.floats((left() + inputs) * pitch_ + kSimdWidth);
}

ConvolutionRows StridedConvolution::rows(Workspace& memory, std::size_t outputs) const {
    const std::size_t bytes = matrix_.takes_bytes() ? outputs * zeros_.size() : 0;
    return {memory.floats(outputs * padded(channels_)), memory.floats(outputs), memory.bytes(bytes)};
}

void StridedConvolution::multiply(const float* line, const ConvolutionRows& rows, int count) const {
    const Rows<float> made{rows.made, padded(channels_)};
    const auto in_spans = [&](auto x) {
        const std::uint32_t groups = matrix_.all().last, step = static_cast<std::uint32_t>(span_);
        for (std::uint32_t first = 0; first < groups; first += step) {
            matrix_(Span{first, std::min(groups, first + step)}, x, made, count);
        }
    };
    if (!matrix_.takes_bytes()) {
        std::fill_n(rows.scales, count, 1.0f);
        return in_spans(Rows<const float>{line, stride_ * pitch_});
    }
    const std::size_t width = zeros_.size();
    for (int r = 0; r < count; ++r) {
        const auto row = static_cast<std::size_t>(r);
        rows.scales[r] = kernels_->rectify_and_quantise(line + row * stride_ * pitch_, zeros_.data(), 1.0f, width,
                                                        rows.bytes + row * width);
    }
    in_spans(Rows<const std::uint8_t>{rows.bytes, width});
}

void StridedConvolution::operator()(const float* line, float* outputs, const ConvolutionRows& rows,
                                    std::size_t count) const {
    const std::size_t width = padded(channels_);
    multiply(line, rows, static_cast<int>(count));
    std::fill_n(outputs, count * width, 0.0f);
    for (std::size_t r = 0; r < count; ++r) {
        float* y = outputs + r * width;
        kernels_->accumulate(y, rows.made + r * width, rows.scales[r], bias_.data(), width);
        if (normalised_) {
            kernels_->layer_norm({y, gain_.data(), norm_bias_.data(), channels_, epsilon_, 0.0f, y});
        } else {
            for (std::size_t i = 0; i < width; ++i) y[i] = std::max(y[i], 0.0f);
        }
    }
}

void StridedConvolution::keep(float* line, std::size_t inputs) const {
    std::copy_n(line + inputs * pitch_, left() * pitch_, line);
}

}  // namespace seqgen
