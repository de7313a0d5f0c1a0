#include "training/gru.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "kernels/kernels.hpp"
#include "training/shared_out.hpp"

namespace seqgen {
namespace {

constexpr std::size_t kPairs = 16;  // of a group of bfloat16 weights there are a multiple
constexpr std::size_t kSharing = 2;  // rows that add up the gradients of the shared lines

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

// Zeros in as large pages as the system has: of some thousand small ones a processor does not know all places at once.
class Zeros {
  public:
    Zeros() : data_(nullptr, Free{kBlockBytes}) {}
    explicit Zeros(std::size_t count) {
        const std::size_t wanted = std::max<std::size_t>(count, 1) * sizeof(float);
        const std::size_t page = wanted >= kPage / 2 ? kPage : kBlockBytes, bytes = up(wanted, page);
        auto* const made = static_cast<float*>(::operator new(bytes, std::align_val_t(page)));
        data_ = std::unique_ptr<float, Free>(made, Free{page});
#if defined(__linux__)
        if (page == kPage) madvise(made, bytes, MADV_HUGEPAGE);  // a wish: nothing is lost where it fails
#endif
        std::memset(made, 0, bytes);
    }
    float* data() { return data_.get(); }

  private:
    static constexpr std::size_t kPage = std::size_t{1} << 21;
    struct Free {
        std::size_t aligned;
        void operator()(float* data) const { ::operator delete(data, std::align_val_t(aligned)); }
    };
    std::unique_ptr<float, Free> data_;
};

// A matrix as the kernels read it, and rows of its products. T is what its inputs are made of.
template <typename T>
class Packed {
  public:
    // Element (row, column) of the matrix is at(row, column).
    template <typename At>
    Packed(std::size_t rows, std::size_t columns, At at) {
        constexpr std::size_t kPer = sizeof(float) / sizeof(T);  // inputs of a vector
        made_.groups = up(rows, kSimdWidth) / kSimdWidth;
        made_.steps = up(columns, kPer * (kPer > 1 ? kPairs : 1)) / kPer;
        weights_ = Zeros(made_.groups * made_.steps * kSimdWidth);
        auto* to = reinterpret_cast<T*>(weights_.data());
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t group = row / kSimdWidth, lane = row % kSimdWidth;
            for (std::size_t column = 0; column < columns; ++column) {
                const std::size_t vector = group * made_.steps + column / kPer;
                to[(vector * kSimdWidth + lane) * kPer + column % kPer] = rounded(at(row, column));
            }
        }
        made_.weights = weights_.data();
    }

    std::size_t inputs() const { return made_.steps * sizeof(float) / sizeof(T); }
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

    Zeros weights_;
    Dense made_;
};

void write(const Kernels&, const float* from, std::size_t count, float* to) { std::copy_n(from, count, to); }
void write(const Kernels& kernels, const float* from, std::size_t count, std::uint16_t* to) {
    kernels.to_bf16(from, count, to);
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
        std::size_t count = 0;
        for (std::size_t i = 0; i < shared_ + own_; ++i) {
            if (by[i] == 0.0f) continue;
            Line* const line = i < shared_ ? shared + (shared_at + i) * sizes_.gates
                                           : own + (row * own_ + i - shared_) * sizes_.gates;
            to[count++] = {by[i], line};
        }
        return count;
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
