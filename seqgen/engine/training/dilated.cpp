#include "training/dilated.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/kernels.hpp"
#include "training/lines.hpp"
#include "training/packed.hpp"
#include "training/shared_out.hpp"
#include "training/stack.hpp"

namespace seqgen {
namespace {

Pieces pieces(const seqgen_dilated& call) {
    return {static_cast<std::size_t>(call.rows), call.shared_lines > 0 ? kSharing : 1};
}

struct Sizes {
    std::size_t rows, steps, layers, residuals, taps, width, gate, lines;
    Reaches of;

    explicit Sizes(const seqgen_dilated& call)
        : rows(static_cast<std::size_t>(call.rows)),
          steps(static_cast<std::size_t>(call.steps)),
          layers(static_cast<std::size_t>(call.layers)),
          residuals(static_cast<std::size_t>(call.residuals)),
          taps(static_cast<std::size_t>(call.taps)),
          width(static_cast<std::size_t>(call.width)),
          gate(static_cast<std::size_t>(call.gate)),
          lines(layers * 2 * gate),
          of(call.dilations, layers, taps) {}
};

// The input parts of the gates of some positions: given, or sums of lines.
template <typename Found>
class Given {
  public:
    Given(const seqgen_dilated& call, const Sizes& sizes)
        : call_(call),
          sizes_(sizes),
          shared_(static_cast<std::size_t>(call.shared_lines)),
          own_(static_cast<std::size_t>(call.own_lines)),
          found_(sizes.rows, kTogether * (shared_ + own_)),
          shifted_(sizes.rows, shared_ + own_),
          counts_(sizes.rows, kTogether) {}

    // Looks up which lines weigh anything in a row's positions from `step` on.
    template <typename Line>
    void look_up(std::size_t first, Line* shared, Line* own, std::size_t row, std::size_t step, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            const float* const by = call_.coefficients + (row * sizes_.steps + step + i) * (shared_ + own_);
            counts_.of(first)[i] = gather(by, Lines<Line>{shared, shared_},
                                          Lines<Line>{own + row * own_ * sizes_.lines, own_}, sizes_.lines,
                                          found_.of(first) + i * (shared_ + own_));
        }
    }

    // Those of position i, from element `at` of each line on.
    Lines<Found> at(std::size_t first, std::size_t i, std::size_t at) {
        Found* const to = shifted_.of(first);
        const Found* const from = found_.of(first) + i * (shared_ + own_);
        const std::size_t count = counts_.of(first)[i];
        for (std::size_t k = 0; k < count; ++k) to[k] = {from[k].coefficient, from[k].line + at};
        return {to, count};
    }

  private:
    const seqgen_dilated& call_;
    const Sizes& sizes_;
    std::size_t shared_, own_;
    Rooms<Found> found_, shifted_;
    Rooms<std::size_t> counts_;
};

template <typename T>
void forward(const seqgen_dilated& call, const Kernels& kernels) {
    const Sizes sizes(call);
    const std::size_t width = sizes.width, gate = sizes.gate, steps = sizes.steps, taps = sizes.taps;
    std::vector<Packed<T>> inner, outer;  // of each layer
    for (std::size_t layer = 0; layer < sizes.layers; ++layer) {
        const float* const weights = call.weights + layer * 2 * gate * taps * width;
        inner.emplace_back(2 * gate, taps * width, [&](std::size_t i, std::size_t j) { return weights[i * taps * width + j]; });
        if (layer >= sizes.residuals) continue;
        const float* const outputs = call.outputs + layer * width * gate;
        outer.emplace_back(width, gate, [&](std::size_t i, std::size_t j) { return outputs[i * gate + j]; });
    }
    const std::size_t stride = inner.front().inputs(), made = inner.front().outputs();
    const std::size_t into = outer.empty() ? 0 : outer.front().inputs(), out = outer.empty() ? 0 : outer.front().outputs();
    const std::size_t units = sizes.layers * gate, newest = (taps - 1) * width;
    auto* const read = static_cast<T*>(call.read);
    auto* const kept = static_cast<T*>(call.kept);
    auto* const z = static_cast<T*>(call.z);
    auto* const passed = static_cast<T*>(call.passed);
    Rooms<float> along(sizes.rows, kTogether * width), products(sizes.rows, kTogether * made),
        leaving(sizes.rows, kTogether * out);
    Rooms<T> side(sizes.rows, kTogether * units), before(sizes.rows, sizes.of.history * width);
    Given<Term> given(call, sizes);
    shared_out(pieces(call), call.threads, [&](std::size_t first, std::size_t last) {
        float* const a = along.of(first);
        T* const history = before.of(first);
        for (std::size_t row = first; row < last; ++row) {
            const float* const heard = call.history == nullptr ? nullptr : call.history + row * sizes.of.history * width;
            float* const ahead = call.ahead == nullptr ? nullptr : call.ahead + row * sizes.of.history * width;
            if (heard == nullptr) std::fill_n(history, sizes.of.history * width, T{});
            else write(kernels, heard, sizes.of.history * width, history);
            if (ahead != nullptr) keep_history(sizes.of, steps, width, heard, ahead);
            for (std::size_t step = 0; step < steps; step += kTogether) {
                const std::size_t count = std::min(kTogether, steps - step);
                std::copy_n(call.entered + (row * steps + step) * width, count * width, a);
                if (call.inputs == nullptr) given.look_up(first, call.shared, call.own, row, step, count);
                for (std::size_t layer = 0; layer < sizes.layers; ++layer) {
                    const std::size_t place = (layer * sizes.rows + row) * steps, reach = sizes.of.reaches[layer];
                    const bool residual = layer < sizes.residuals;
                    T* const heads = read + place * stride;  // all that the layer reads of this row
                    const T* const older = history + sizes.of.before[layer] * width;
                    for (std::size_t i = 0; i < count; ++i) {
                        const std::size_t now = step + i;
                        write(kernels, a + i * width, width, heads + now * stride + newest);
                        beside(sizes.of, layer, taps, width, stride, older, heads, now);
                        if (ahead != nullptr && now + reach >= steps) {
                            std::copy_n(a + i * width, width, ahead + (sizes.of.before[layer] + now + reach - steps) * width);
                        }
                    }
                    inner[layer].multiply(kernels, heads + step * stride, products.of(first), count);
                    T* const passing = residual ? passed + (place + step) * into : nullptr;
                    for (std::size_t i = 0; i < count; ++i) {
                        GatedUnits one{};
                        if (call.inputs != nullptr) {
                            one.given = call.inputs + ((row * steps + step + i) * sizes.layers + layer) * 2 * gate;
                        } else {
                            const Lines<Term> terms = given.at(first, i, layer * 2 * gate);
                            one.terms = terms.first;
                            one.count = terms.count;
                        }
                        one.product = products.of(first) + i * made;
                        one.kept = kept + (place + step + i) * 2 * gate;
                        one.z = side.of(first) + i * units + layer * gate;
                        one.z_again = residual ? passing + i * into : nullptr;
                        one.units = gate;
                        one.half = sizeof(T) == sizeof(std::uint16_t);
                        kernels.gated_forward(one);
                        if (residual) std::fill(passing + i * into + gate, passing + (i + 1) * into, T{});
                    }
                    if (!residual) continue;
                    outer[layer].multiply(kernels, passing, leaving.of(first), count);
                    for (std::size_t i = 0; i < count; ++i) {
                        const GradTerm to{1.0f, a + i * width};
                        kernels.spread_lines(&to, 1, width, leaving.of(first) + i * out);
                        kernels.spread_lines(&to, 1, width, call.biases + layer * width);
                    }
                }
                std::copy_n(side.of(first), count * units, z + (row * steps + step) * units);
                if (call.left != nullptr) std::copy_n(a, count * width, call.left + (row * steps + step) * width);
            }
        }
    });
}

template <typename T>
void backward(const seqgen_dilated& call, const Kernels& kernels) {
    const Sizes sizes(call);
    const std::size_t width = sizes.width, gate = sizes.gate, steps = sizes.steps, taps = sizes.taps;
    std::vector<Packed<T>> inner, outer;  // the transposed matrices
    for (std::size_t layer = 0; layer < sizes.layers; ++layer) {
        const float* const weights = call.weights + layer * 2 * gate * taps * width;
        for (std::size_t tap = 0; tap < taps; ++tap) {
            inner.emplace_back(width, 2 * gate, [&](std::size_t i, std::size_t j) { return weights[(j * taps + tap) * width + i]; });
        }
        if (layer >= sizes.residuals) continue;
        const float* const outputs = call.outputs + layer * width * gate;
        outer.emplace_back(gate, width, [&](std::size_t i, std::size_t j) { return outputs[j * gate + i]; });
    }
    const std::size_t stride = inner.front().inputs(), made = inner.front().outputs();
    const std::size_t into = outer.empty() ? 0 : outer.front().inputs(), out = outer.empty() ? 0 : outer.front().outputs();
    const auto* const kept = static_cast<const T*>(call.kept);
    const auto* const grad_z = static_cast<const T*>(call.grad_z);
    auto* const grad_inner = static_cast<T*>(call.grad_inner);
    auto* const grad_outputs = static_cast<T*>(call.grad_outputs);
    Rooms<float> along(sizes.rows, kTogether * width), products(sizes.rows, kTogether * made),
        leaving(sizes.rows, kTogether * out);
    const std::size_t units = sizes.layers * gate;
    Rooms<T> beside(sizes.rows, kTogether * units);  // of all layers together, read in one go: a layer's alone lie far apart
    Given<GradTerm> lines(call, sizes);
    const std::size_t shared = static_cast<std::size_t>(call.shared_lines), own = static_cast<std::size_t>(call.own_lines);
    shared_out(pieces(call), call.threads, [&](std::size_t first, std::size_t last) {
        if (call.grad_inputs == nullptr) {
            const auto clear = [&](float* from, std::size_t begin, std::size_t end) {
                if (from != nullptr) std::fill(from + begin * sizes.lines, from + end * sizes.lines, 0.0f);
            };
            clear(call.grad_shared, first / kSharing * shared, up(last, kSharing) / kSharing * shared);
            clear(call.grad_own, first * own, last * own);
        }
        float* const a = along.of(first);  // the gradient of what the layer above reads
        for (std::size_t row = first; row < last; ++row) {
            float* const biases = call.grad_biases + row * sizes.residuals * width;
            std::fill_n(biases, sizes.residuals * width, 0.0f);
            float* const of_pair = call.grad_shared + row / kSharing * shared * sizes.lines;
            for (std::size_t end = steps; end > 0;) {
                const std::size_t step = (end - 1) / kTogether * kTogether, count = end - step;
                end = step;
                if (call.grad_left == nullptr) {
                    std::fill_n(a, count * width, 0.0f);
                } else {
                    std::copy_n(call.grad_left + (row * steps + step) * width, count * width, a);
                }
                std::copy_n(grad_z + (row * steps + step) * units, count * units, beside.of(first));
                if (call.grad_inputs == nullptr) lines.look_up(first, of_pair, call.grad_own, row, step, count);
                for (std::size_t layer = sizes.layers; layer-- > 0;) {
                    const std::size_t rows_before = layer * sizes.rows + row;
                    const bool residual = layer < sizes.residuals;
                    if (residual) {
                        const GradTerm bias{1.0f, biases + layer * width};
                        T* const entering = grad_outputs + (rows_before * steps + step) * into;
                        enter(kernels, a, width, count, into, entering);
                        for (std::size_t i = 0; i < count; ++i) kernels.spread_lines(&bias, 1, width, a + i * width);
                        outer[layer].multiply(kernels, entering, leaving.of(first), count);
                    }
                    T* const inside = grad_inner + (rows_before * steps + step) * stride;
                    for (std::size_t i = 0; i < count; ++i) {
                        const std::size_t at = row * steps + step + i;
                        GatedGradients gradients{};
                        gradients.kept = kept + (rows_before * steps + step + i) * 2 * gate;
                        gradients.grad = beside.of(first) + i * units + layer * gate;
                        gradients.above = residual ? leaving.of(first) + i * out : nullptr;
                        gradients.inner = inside + i * stride;
                        if (call.grad_inputs != nullptr) {
                            gradients.given = call.grad_inputs + (at * sizes.layers + layer) * 2 * gate;
                        } else {
                            const Lines<GradTerm> terms = lines.at(first, i, layer * 2 * gate);
                            gradients.terms = terms.first;
                            gradients.count = terms.count;
                        }
                        gradients.units = gate;
                        gradients.half = sizeof(T) == sizeof(std::uint16_t);
                        kernels.gated_backward(gradients);
                        std::fill(inside + i * stride + 2 * gate, inside + (i + 1) * stride, T{});
                    }
                    for (std::size_t tap = 0; tap < taps; ++tap) {  // what was read as this tap, by later positions
                        const std::size_t later = (taps - 1 - tap) * sizes.of.dilations[layer];
                        if (step + later >= steps) continue;
                        const std::size_t there = std::min(count, steps - step - later);
                        inner[layer * taps + tap].multiply(kernels, inside + later * stride, products.of(first), there);
                        for (std::size_t i = 0; i < there; ++i) {
                            const GradTerm to{1.0f, a + i * width};
                            kernels.spread_lines(&to, 1, width, products.of(first) + i * made);
                        }
                    }
                    for (std::size_t i = 0; i < count && call.grad_ahead != nullptr; ++i) {
                        if (step + i + sizes.of.reaches[layer] < steps) continue;
                        const std::size_t place = sizes.of.before[layer] + step + i + sizes.of.reaches[layer] - steps;
                        const GradTerm to{1.0f, a + i * width};
                        kernels.spread_lines(&to, 1, width, call.grad_ahead + (row * sizes.of.history + place) * width);
                    }
                }
                std::copy_n(a, count * width, call.grad_entered + (row * steps + step) * width);
            }
        }
    });
}

}  // namespace

void dilated_forward(const seqgen_dilated& call) {
    const Kernels& kernels = choose_kernels(call.isa);
    call.format == SEQGEN_FORMAT_BF16 ? forward<std::uint16_t>(call, kernels) : forward<float>(call, kernels);
}

void dilated_backward(const seqgen_dilated& call) {
    const Kernels& kernels = choose_kernels(call.isa);
    call.format == SEQGEN_FORMAT_BF16 ? backward<std::uint16_t>(call, kernels) : backward<float>(call, kernels);
}

}  // namespace seqgen
