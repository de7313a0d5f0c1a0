#include "training/gru.hpp"

#include <algorithm>
#include <vector>

#include "kernels/kernels.hpp"
#include "training/lines.hpp"
#include "training/packed.hpp"
#include "training/shared_out.hpp"

namespace seqgen {
namespace {

// Rows, and how many of them are one thread's.
Pieces pieces(const seqgen_gru& call) {
    return {static_cast<std::size_t>(call.rows), call.shared_lines > 0 ? kSharing : 1};
}

struct Sizes {
    std::size_t steps, groups, width, state, gates;

    explicit Sizes(const seqgen_gru& call)
        : steps(static_cast<std::size_t>(call.steps)),
          groups(static_cast<std::size_t>(call.groups)),
          width(static_cast<std::size_t>(call.width)),
          state(groups * width),
          gates(3 * state) {}
};

// What enters a product and what leaves it, of all rows: nothing is allocated where a failure could not be told.
template <typename T>
struct Scratch {
    const Packed<T>& matrix;
    std::vector<T> entering;
    std::vector<float> leaving;

    Scratch(const Packed<T>& of, std::int64_t rows)
        : matrix(of),
          entering(static_cast<std::size_t>(rows) * of.inputs()),
          leaving(static_cast<std::size_t>(rows) * of.outputs()) {}

    T* x(std::size_t row) { return entering.data() + row * matrix.inputs(); }
    float* y(std::size_t row) { return leaving.data() + row * matrix.outputs(); }
    void multiply(const Kernels& kernels, std::size_t first, std::size_t last) {
        matrix.multiply(kernels, x(first), y(first), last - first);
    }
};

// The input parts of the gates: given, or sums of lines, of which those that weigh nothing are left out. `first` is the
// first row of a thread's share: in its place lies what only that thread writes.
class GateInputs {
  public:
    GateInputs(const seqgen_gru& call, const Sizes& sizes)
        : call_(call),
          sizes_(sizes),
          shared_(static_cast<std::size_t>(call.shared_lines)),
          own_(static_cast<std::size_t>(call.own_lines)),
          summed_(call.inputs == nullptr ? static_cast<std::size_t>(call.rows) * sizes.gates : 0) {
        terms_.resize(static_cast<std::size_t>(call.rows) * (shared_ + own_));
        gradients_.resize(terms_.size());
    }

    const float* of(const Kernels& kernels, std::size_t first, std::size_t row, std::size_t step) {
        if (call_.inputs != nullptr) return call_.inputs + (row * sizes_.steps + step) * sizes_.gates;
        float* const sum = summed_.data() + first * sizes_.gates;
        Term* const terms = terms_.data() + first * (shared_ + own_);
        const std::size_t count = gathered(call_.shared, 0, call_.own, row, step, terms);
        kernels.sum_lines(terms, count, sizes_.gates, sum);
        return sum;
    }

    // Adds a gradient of the inputs to that of the lines.
    void spread(const Kernels& kernels, std::size_t first, std::size_t row, std::size_t step, const float* gradient) {
        GradTerm* const terms = gradients_.data() + first * (shared_ + own_);
        const std::size_t count = gathered(call_.grad_shared, row / kSharing * shared_, call_.grad_own, row, step, terms);
        kernels.spread_lines(terms, count, sizes_.gates, gradient);
    }

    void clear(std::size_t first, std::size_t last) const {
        const auto none = [&](float* lines, std::size_t from, std::size_t to) {
            if (lines != nullptr) std::fill(lines + from * sizes_.gates, lines + to * sizes_.gates, 0.0f);
        };
        none(call_.grad_shared, first / kSharing * shared_, up(last, kSharing) / kSharing * shared_);
        none(call_.grad_own, first * own_, last * own_);
    }

  private:
    template <typename Line, typename Found>
    std::size_t gathered(Line* shared, std::size_t shared_at, Line* own, std::size_t row, std::size_t step,
                         Found* to) const {
        const float* const by = call_.coefficients + (row * sizes_.steps + step) * (shared_ + own_);
        return gather(by, Lines<Line>{shared + shared_at * sizes_.gates, shared_},
                      Lines<Line>{own + row * own_ * sizes_.gates, own_}, sizes_.gates, to);
    }

    const seqgen_gru& call_;
    const Sizes& sizes_;
    std::size_t shared_, own_;
    std::vector<float> summed_;
    std::vector<Term> terms_;
    std::vector<GradTerm> gradients_;
};

template <typename T>
void forward(const seqgen_gru& call, const Kernels& kernels) {
    const Sizes sizes(call);
    const std::size_t state = sizes.state, width = sizes.width;
    const Packed<T> matrix(sizes.gates, state, [&](std::size_t i, std::size_t j) { return call.weight[i * state + j]; });
    Scratch<T> scratch(matrix, call.rows);
    GateInputs given(call, sizes);
    shared_out(pieces(call), call.threads, [&](std::size_t first, std::size_t last) {
        for (std::size_t step = 0; step < sizes.steps; ++step) {
            const auto before = [&](std::size_t row) {
                return step == 0 ? call.hidden + row * state : call.states + (row * sizes.steps + step - 1) * state;
            };
            for (std::size_t row = first; row < last; ++row) {
                write(kernels, before(row), state, scratch.x(row));
            }
            scratch.multiply(kernels, first, last);
            for (std::size_t row = first; row < last; ++row) {
                const std::size_t at = row * sizes.steps + step;
                const float* const inputs = given.of(kernels, first, row, step);
                for (std::size_t group = 0; group < sizes.groups; ++group) {
                    GruGates gates;
                    gates.inputs = inputs + group * 3 * width;
                    gates.products = scratch.y(row) + group * 3 * width;
                    gates.before = before(row) + group * width;
                    gates.after = call.states + at * state + group * width;
                    gates.kept = call.kept == nullptr ? nullptr : call.kept + 4 * (at * state + group * width);
                    gates.units = width;
                    kernels.gru_forward(gates);
                }
            }
        }
    });
}

template <typename T>
void backward(const seqgen_gru& call, const Kernels& kernels) {
    const Sizes sizes(call);
    const std::size_t state = sizes.state, width = sizes.width;
    const Packed<T> matrix(state, sizes.gates, [&](std::size_t i, std::size_t j) { return call.weight[j * state + i]; });
    auto* const products = static_cast<T*>(call.grad_products);
    auto* const entered = static_cast<T*>(call.entered);
    Scratch<T> scratch(matrix, call.rows);
    std::vector<float> made(static_cast<std::size_t>(call.rows) * sizes.gates);
    std::vector<float> unwritten(call.grad_inputs == nullptr ? made.size() : 0);
    GateInputs lines(call, sizes);
    shared_out(pieces(call), call.threads, [&](std::size_t first, std::size_t last) {
        if (call.grad_inputs == nullptr) lines.clear(first, last);
        std::fill(call.grad_hidden + first * state, call.grad_hidden + last * state, 0.0f);
        for (std::size_t step = sizes.steps; step-- > 0;) {
            for (std::size_t row = first; row < last; ++row) {
                const std::size_t at = row * sizes.steps + step;
                float* const gradient = made.data() + first * sizes.gates;  // a row's alone, for a cache's sake
                float* const inputs = call.grad_inputs == nullptr ? unwritten.data() + first * sizes.gates
                                                                  : call.grad_inputs + at * sizes.gates;
                const float* before = step == 0 ? call.hidden + row * state : call.states + (at - 1) * state;
                for (std::size_t group = 0; group < sizes.groups; ++group) {
                    GruGradients gradients;
                    gradients.kept = call.kept + 4 * (at * state + group * width);
                    gradients.before = before + group * width;
                    gradients.grad = call.grad + at * state + group * width;
                    gradients.carry = call.grad_hidden + row * state + group * width;
                    gradients.inputs = inputs + group * 3 * width;
                    gradients.products = gradient + group * 3 * width;
                    gradients.units = width;
                    kernels.gru_backward(gradients);
                }
                if (call.grad_inputs == nullptr) lines.spread(kernels, first, row, step, inputs);
                T* const x = scratch.x(row);
                write(kernels, before, state, x);
                kernels.write_past_caches(x, state * sizeof(T), entered + at * state);
                write(kernels, gradient, sizes.gates, x);
                kernels.write_past_caches(x, sizes.gates * sizeof(T), products + at * sizes.gates);
            }
            scratch.multiply(kernels, first, last);
            for (std::size_t row = first; row < last; ++row) {
                float* const carry = call.grad_hidden + row * state;
                const float* const y = scratch.y(row);
                for (std::size_t i = 0; i < state; ++i) carry[i] += y[i];
            }
        }
    });
}

}  // namespace

void gru_forward(const seqgen_gru& call) {
    const Kernels& kernels = choose_kernels(call.isa);
    call.format == SEQGEN_FORMAT_BF16 ? forward<std::uint16_t>(call, kernels) : forward<float>(call, kernels);
}

void gru_backward(const seqgen_gru& call) {
    const Kernels& kernels = choose_kernels(call.isa);
    call.format == SEQGEN_FORMAT_BF16 ? backward<std::uint16_t>(call, kernels) : backward<float>(call, kernels);
}

}  // namespace seqgen
