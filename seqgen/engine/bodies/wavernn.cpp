#include "bodies/wavernn.hpp"

#include <algorithm>
#include <cmath>

#include "layers/bias.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr double kOwnCoarse = 0.55;  // of the coarse rows, with a helper: it starts late, and its results arrive late
constexpr std::int64_t kMostUnits = 1 << 15;

}  // namespace

WaveRnn::WaveRnn(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
                 const std::string& where)
    : kernels_(&kernels), format_(format) {
    std::vector<std::int64_t> shape = {-1, -1};
    const std::vector<float> recurrent = tensors.floats(op.at("recurrent", where).string(where), shape);
    const std::int64_t hidden = shape[1];
    if (hidden % 2 != 0 || hidden > kMostUnits || shape[0] != 3 * hidden) {
        throw Failure(SEQGEN_FORMAT, where + ": the recurrent matrix is " + std::to_string(shape[0]) + " x " +
                                         std::to_string(hidden) + ", expected 3 H x H with an even H of at most 32768");
    }
    units_ = static_cast<std::size_t>(hidden) / 2;
    half_ = padded(units_);
    recurrent_ = PackedMatrix(layout(recurrent.data()), format, Activations::state, kernels);
    shape = {3 * hidden, 3};
    const std::vector<float> input = tensors.floats(op.at("input", where).string(where), shape);
    input_ = AlignedArray<float>(3 * gates());
    for (std::size_t gate = 0; gate < 6; ++gate) {
        for (std::size_t unit = 0; unit < units_; ++unit) {
            for (std::size_t k = 0; k < 3; ++k) {
                input_[k * gates() + gate * half_ + unit] =
                    exponent_factor(format_, gate % 3 == 2) * input[(gate * units_ + unit) * 3 + k];
            }
        }
    }
    read_inputs(op.at("inputs", where), where);
    const auto& heads = op.at("heads", where).list(where);
    if (heads.size() != 2) throw Failure(SEQGEN_FORMAT, where + ": two heads were expected");
    for (int which = 0; which < 2; ++which)
        heads_[which] = head(heads[static_cast<std::size_t>(which)], tensors, where);
    split();
}

void WaveRnn::read_inputs(const Json& rows, const std::string& where) {
    bool right = rows.list(where).size() == 3;
    for (std::size_t k = 0; right && k < 3; ++k) {
        const auto& row = rows.items[k].list(where);
        right = row.size() == 4;
        for (std::size_t i = 0; right && i < 4; ++i) affine_[k][i] = static_cast<float>(row[i].real(where));
        right = right && std::isfinite(affine_[k][0] + affine_[k][1] + affine_[k][2] + affine_[k][3]);
    }
    if (!right || affine_[0][2] != 0 || affine_[1][2] != 0) {
        throw Failure(SEQGEN_FORMAT, where +
                                         ": 'inputs' are not three rows of four numbers, the third column being "
                                         "zero in the first two");
    }
}

void WaveRnn::set_inputs(WaveRnnBuffers& buffers, int row, int coarse_before, int fine_before, int coarse) const {
    const float c = static_cast<float>(coarse_before), f = static_cast<float>(fine_before);
    const float now = static_cast<float>(coarse);
    for (int k = 0; k < 3; ++k) {
        const float* a = affine_[k];
        buffers.inputs[row][k] = (a[0] * c + a[1] * f) + (a[2] * now + a[3]);
    }
}

MatrixSource WaveRnn::arranged(const float* weights, std::size_t width) const {
    MatrixSource source{weights, width, {}, {}, {}};
    source.rows.assign(gates(), -1);
    source.columns.assign(padded(width), -1);
    source.factor.assign(gates(), 1.0f);
    for (std::size_t column = 0; column < width; ++column) source.columns[column] = static_cast<int>(column);
    for (std::size_t unit = 0; unit < units_; ++unit) {
        for (std::size_t gate = 0; gate < 6; ++gate) {
            source.rows[gate * half_ + unit] = static_cast<int>(gate * units_ + unit);
            source.factor[gate * half_ + unit] = exponent_factor(format_, gate % 3 == 2);
        }
    }
    return source;
}

MatrixSource WaveRnn::layout(const float* weights) const {
    MatrixSource source = arranged(weights, 2 * units_);
    source.columns.assign(2 * half_, -1);
    source.part = half_;
    for (std::size_t unit = 0; unit < units_; ++unit) {
        for (std::size_t which = 0; which < 2; ++which) {
            source.columns[which * half_ + unit] = static_cast<int>(which * units_ + unit);
        }
    }
    return source;
}

WaveRnn::Head WaveRnn::head(const Json& described, const Tensors& tensors, const std::string& where) const {
    const auto half = static_cast<std::int64_t>(units_);
    const auto named = [&](const char* name) { return described.at(name, where).string(where); };
    std::vector<std::int64_t> shape = {half, half};
    Head made;
    const std::vector<float> inner = tensors.floats(named("inner_weight"), shape);
    made.inner =
        PackedMatrix(MatrixSource::plain(inner.data(), units_, units_), format_, Activations::state, *kernels_);
    made.inner_bias = read_bias(tensors, named("inner_bias"), units_);
    shape = {kClasses, half};
    const std::vector<float> outer = tensors.floats(named("outer_weight"), shape);
    made.outer =
        PackedMatrix(MatrixSource::plain(outer.data(), kClasses, units_), format_, Activations::rectified, *kernels_);
    made.outer_bias = read_bias(tensors, named("outer_bias"), kClasses);
    return made;
}

std::size_t WaveRnn::blocks() const {
    std::size_t sum = recurrent_.blocks();
    for (const Head& head : heads_) sum += head.inner.blocks() + head.outer.blocks();
    return sum;
}

std::size_t WaveRnn::bytes() const {
    std::size_t sum = recurrent_.bytes() + 3 * gates() * sizeof(float);
    for (const Head& head : heads_) sum += head.inner.bytes() + head.outer.bytes();
    return sum;
}

void WaveRnn::arrange(const float* vector, float* made) const {
    for (std::size_t gate = 0; gate < 6; ++gate) {
        const float factor = exponent_factor(format_, gate % 3 == 2);
        for (std::size_t unit = 0; unit < units_; ++unit)
            made[gate * half_ + unit] = factor * vector[gate * units_ + unit];
    }
}

void WaveRnn::reserve(WaveRnnBuffers& buffers, Workspace& memory, std::size_t rows) const {
    for (float*& hidden : buffers.hidden) hidden = memory.floats(rows * 2 * half_);
    for (std::uint8_t*& bytes : buffers.bytes) bytes = memory.bytes(rows * 2 * half_);
    buffers.products = memory.floats(rows * gates());
    buffers.inner = memory.floats(rows * half_);
    buffers.inner_bytes = memory.bytes(rows * half_);
    buffers.logits = memory.floats(rows * kClasses);
}

void WaveRnn::refresh(WaveRnnBuffers& buffers, std::size_t row) const {
    if (format_ != SEQGEN_FORMAT_INT8) return;
    const std::size_t width = 2 * half_, at = row * width;
    kernels_->quantise_state(buffers.hidden[buffers.now] + at, width, buffers.bytes[buffers.now] + at);
}

void WaveRnn::apply(const PackedMatrix& matrix, Span groups, Rows<const float> x, Rows<const std::uint8_t> bytes,
                    Rows<float> y, int rows) const {
    if (format_ == SEQGEN_FORMAT_INT8) {
        matrix(groups, bytes, y, rows);
    } else {
        matrix(groups, x, y, rows);
    }
}

Span WaveRnn::all() const { return recurrent_.all(); }

Span WaveRnn::share(int half, bool helper) const {
    const std::uint32_t groups = recurrent_.all().last / 2, first = groups * static_cast<std::uint32_t>(half);
    const std::uint32_t middle = first + own_[half];
    return helper ? Span{middle, first + groups} : Span{first, middle};
}

// The helper has nearly half of the coarse rows, so that nobody waits for the other, and so many of the fine ones that
// it reads as many bytes as the caller does, who has the heads besides.
void WaveRnn::split() {
    double heads = 0;
    for (const Head& head : heads_) heads += static_cast<double>(head.inner.bytes() + head.outer.bytes());
    const double fine = std::max(0.0, 1 - kOwnCoarse - heads / static_cast<double>(recurrent_.bytes()));
    const double groups = recurrent_.all().last / 2;
    own_[0] = static_cast<std::uint32_t>(kOwnCoarse * groups);
    own_[1] = static_cast<std::uint32_t>(fine * groups);
}

void WaveRnn::multiply(const WaveRnnBuffers& buffers, Span groups) const {
    const std::size_t width = 2 * half_;
    apply(recurrent_, groups, {buffers.hidden[buffers.now], width}, {buffers.bytes[buffers.now], width},
          {buffers.products, gates()}, buffers.rows);
}

void WaveRnn::gate(WaveRnnBuffers& buffers, int half) const {
    const std::size_t offset = static_cast<std::size_t>(half) * half_;
    const bool small = format_ == SEQGEN_FORMAT_INT8;
    for (int r = 0; r < buffers.rows; ++r) {
        const auto row = static_cast<std::size_t>(r);
        const std::size_t at = row * gates() + 3 * offset, unit = row * 2 * half_ + offset;
        const GateConditioning& given = buffers.conditioning[r];
        const float* inputs = buffers.inputs[r];
        const Gates call = {given.from + 3 * offset,
                            given.delta + 3 * offset,
                            input_.data() + 3 * offset,
                            gates(),
                            buffers.products + at,
                            buffers.hidden[buffers.now] + unit,
                            buffers.hidden[1 - buffers.now] + unit,
                            buffers.bytes[1 - buffers.now] + unit,
                            half_,
                            given.weight,
                            {inputs[0], inputs[1], inputs[2]},
                            2 + half,
                            given.context == nullptr ? nullptr : given.context + 3 * offset,
                            given.scale};
        small ? kernels_->gates_quick(call) : kernels_->gates(call);
    }
}

void WaveRnn::advance(WaveRnnBuffers& buffers, int half) const {
    gate(buffers, half);
    const bool small = format_ == SEQGEN_FORMAT_INT8;
    const Head& head = heads_[half];
    const std::size_t offset = static_cast<std::size_t>(half) * half_, width = 2 * half_;
    apply(head.inner, head.inner.all(), {buffers.hidden[1 - buffers.now] + offset, width},
          {buffers.bytes[1 - buffers.now] + offset, width}, {buffers.inner, half_}, buffers.rows);
    for (int r = 0; r < buffers.rows; ++r) {
        const std::size_t at = static_cast<std::size_t>(r) * half_;
        float* inner = buffers.inner + at;
        buffers.multiplier[r] = 1.0f;
        if (small) {
            buffers.multiplier[r] =
                kernels_->rectify_and_quantise(inner, head.inner_bias.data(), 1.0f, half_, buffers.inner_bytes + at);
        } else {
            kernels_->rectify(inner, head.inner_bias.data(), half_);
        }
    }
    apply(head.outer, head.outer.all(), {buffers.inner, half_}, {buffers.inner_bytes, half_},
          {buffers.logits, kClasses}, buffers.rows);
}

}  // namespace seqgen
