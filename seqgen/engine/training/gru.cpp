#include "training/gru.hpp"

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/kernels.hpp"

namespace seqgen {
namespace {

constexpr std::size_t up(std::size_t count, std::size_t to) { return (count + to - 1) / to * to; }

struct Sizes {
    std::size_t steps, groups, width, state, gates;

    explicit Sizes(const seqgen_gru& call)
        : steps(static_cast<std::size_t>(call.steps)),
          groups(static_cast<std::size_t>(call.groups)),
          width(static_cast<std::size_t>(call.width)),
          state(groups * width),
          gates(3 * state) {}
};

// A matrix as the kernels read it, and rows of its products. T is what its inputs are made of.
template <typename T>
class Packed {
  public:
    // Element (row, column) of the matrix is at(row, column).
    template <typename At>
    Packed(std::size_t rows, std::size_t columns, At at) : columns_(columns) {
        constexpr std::size_t kPer = sizeof(float) / sizeof(T);  // inputs of a vector
        made_.groups = up(rows, kSimdWidth) / kSimdWidth;
        made_.steps = up(columns, kPer) / kPer;
        weights_.assign(made_.groups * made_.steps * kSimdWidth + kSimdWidth, 0.0f);
        auto* to = reinterpret_cast<T*>(aligned());
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t group = row / kSimdWidth, lane = row % kSimdWidth;
            for (std::size_t column = 0; column < columns; ++column) {
                const std::size_t vector = group * made_.steps + column / kPer;
                to[(vector * kSimdWidth + lane) * kPer + column % kPer] = rounded(at(row, column));
            }
        }
        made_.weights = aligned();
    }

    std::size_t inputs() const { return up(columns_, 2); }
    std::size_t outputs() const { return made_.groups * kSimdWidth; }

    void multiply(const Kernels& kernels, const T* x, float* y, std::size_t rows) const {
        if constexpr (sizeof(T) == sizeof(float)) {
            kernels.dense_f32(made_, {x, inputs()}, {y, outputs()}, rows);
        } else {
            kernels.dense_bf16(made_, {x, inputs()}, {y, outputs()}, rows);
        }
    }

  private:
    static T rounded(float value) {
        if constexpr (sizeof(T) == sizeof(float)) return value;
        else return narrowed(value);
    }
    float* aligned() {
        const auto misplaced = reinterpret_cast<std::uintptr_t>(weights_.data()) % kBlockBytes / sizeof(float);
        return weights_.data() + (kSimdWidth - misplaced) % kSimdWidth;
    }

    std::vector<float> weights_;
    Dense made_;
    std::size_t columns_;
};

void write(const Kernels&, const float* from, std::size_t count, float* to) { std::copy_n(from, count, to); }
void write(const Kernels& kernels, const float* from, std::size_t count, std::uint16_t* to) {
    kernels.to_bf16(from, count, to);
}

// Calls run(first, last) for each thread's share of the rows; where no thread can be had the caller's own does its work.
template <typename F>
void shared_out(const seqgen_gru& call, F run) {
    const auto rows = static_cast<std::size_t>(call.rows);
    const std::size_t threads = std::min<std::size_t>(static_cast<std::size_t>(call.threads), rows);
    std::vector<std::thread> others;
    others.reserve(threads);
    const auto share = [&](std::size_t thread) { return rows * thread / threads; };
    for (std::size_t thread = 1; thread < threads; ++thread) {
        try {
            others.emplace_back(run, share(thread), share(thread + 1));
        } catch (const std::system_error&) {
            run(share(thread), share(thread + 1));
        }
    }
    if (threads > 0) run(0, share(1));
    for (std::thread& other : others) other.join();
}

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

template <typename T>
void forward(const seqgen_gru& call, const Kernels& kernels) {
    const Sizes sizes(call);
    const std::size_t state = sizes.state, width = sizes.width;
    const Packed<T> matrix(sizes.gates, state, [&](std::size_t i, std::size_t j) { return call.weight[i * state + j]; });
    Scratch<T> scratch(matrix, call.rows);
    shared_out(call, [&](std::size_t first, std::size_t last) {
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
                for (std::size_t group = 0; group < sizes.groups; ++group) {
                    GruGates gates;
                    gates.inputs = call.inputs + at * sizes.gates + group * 3 * width;
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
    shared_out(call, [&](std::size_t first, std::size_t last) {
        std::fill(call.grad_hidden + first * state, call.grad_hidden + last * state, 0.0f);
        for (std::size_t step = sizes.steps; step-- > 0;) {
            for (std::size_t row = first; row < last; ++row) {
                const std::size_t at = row * sizes.steps + step;
                float* const gradient = made.data() + row * sizes.gates;
                const float* before = step == 0 ? call.hidden + row * state : call.states + (at - 1) * state;
                for (std::size_t group = 0; group < sizes.groups; ++group) {
                    GruGradients gradients;
                    gradients.kept = call.kept + 4 * (at * state + group * width);
                    gradients.before = before + group * width;
                    gradients.grad = call.grad + at * state + group * width;
                    gradients.carry = call.grad_hidden + row * state + group * width;
                    gradients.inputs = call.grad_inputs + at * sizes.gates + group * 3 * width;
                    gradients.products = gradient + group * 3 * width;
                    gradients.units = width;
                    kernels.gru_backward(gradients);
                }
                T* const x = scratch.x(row);
                write(kernels, gradient, sizes.gates, x);
                std::copy_n(x, sizes.gates, products + at * sizes.gates);
                write(kernels, before, state, entered + at * state);
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
