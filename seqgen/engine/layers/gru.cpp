#include "layers/gru.hpp"

#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostUnits = 1 << 15;

}  // namespace

MatrixSource gate_rows(const float* weights, std::size_t width, std::size_t units, seqgen_format format) {
    MatrixSource source{weights, width, {}, {}, {}};
    source.rows.assign(3 * padded(units), -1);
    source.columns.assign(padded(width), -1);
    source.factor.assign(source.rows.size(), 1.0f);
    for (std::size_t column = 0; column < width; ++column) source.columns[column] = static_cast<int>(column);
    for (std::size_t row = 0; row < 3 * units; ++row) {
        const std::size_t gate = row / units, at = gate * padded(units) + row % units;
        source.rows[at] = static_cast<int>(row);
        source.factor[at] = exponent_factor(format, gate == 2);
    }
    return source;
}

GruLayer::GruLayer(const Json& op, const Tensors& tensors, std::size_t width, std::size_t units, const Form& form)
    : form_(form) {
    const auto named = [&](const char* name) { return op.at(name, form.where).string(form.where); };
    const auto any = [](std::size_t size) { return size == 0 ? -1 : static_cast<std::int64_t>(size); };
    std::vector<std::int64_t> shape = {any(3 * units), any(units)};
    const std::vector<float> recurrent = tensors.floats(named("recurrent"), shape);
    if (shape[1] > kMostUnits || shape[0] != 3 * shape[1]) {
        throw Failure(SEQGEN_FORMAT, form.where + ": a recurrent matrix that is not 3 H x H with H of at most 32768");
    }
    units_ = static_cast<std::size_t>(shape[1]);
    shape = {3 * shape[1], static_cast<std::int64_t>(width)};
    const std::vector<float> input = tensors.floats(named("input_weight"), shape);
    recurrent_ = PackedMatrix(gate_rows(recurrent.data(), units_, units_, form.format), form.format, Activations::state,
                              form.kernels);
    input_ = PackedMatrix(gate_rows(input.data(), width, units_, form.format), form.format, form.inputs, form.kernels);
    shape = {3 * static_cast<std::int64_t>(units_)};
    const std::vector<float> bias = tensors.floats(named("input_bias"), shape);
    bias_ = AlignedArray<float>(3 * padded(units_));
    zeros_ = AlignedArray<float>(3 * padded(units_));
    for (std::size_t row = 0; row < 3 * units_; ++row) {
        bias_[row / units_ * padded(units_) + row % units_] =
            bias[row] * exponent_factor(form.format, row / units_ == 2);
    }
}

void GruLayer::apply(const PackedMatrix& matrix, Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> y,
                     int rows) const {
    small() ? matrix(matrix.all(), bytes, y, rows) : matrix(matrix.all(), x, y, rows);
}

void GruLayer::enter(Rows<const float> x, Rows<const std::uint8_t> bytes, Rows<float> entering, int rows) const {
    apply(input_, x, bytes, entering, rows);
}

void GruLayer::step(const Step& step, int rows) const {
    const std::size_t units = padded(units_);
    apply(recurrent_, {step.hidden.data, step.hidden.stride}, {step.bytes.data, step.bytes.stride},
          {step.products, 3 * units}, rows);
    for (int r = 0; r < rows; ++r) {
        const auto row = static_cast<std::size_t>(r);
        float* hidden = step.hidden.data + row * step.hidden.stride;
        const Gates gates = {bias_.data(),
                             step.entering.data + row * step.entering.stride,
                             zeros_.data(),
                             0,
                             step.products + row * 3 * units,
                             hidden,
                             hidden,
                             step.bytes.data + row * step.bytes.stride,
                             units,
                             step.scales[r],
                             {0, 0, 0},
                             2,
                             nullptr,
                             0};
        small() ? form_.kernels.gates_quick(gates) : form_.kernels.gates(gates);
    }
}

}  // namespace seqgen
