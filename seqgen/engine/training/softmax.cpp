#include "training/softmax.hpp"

#include <vector>

#include "kernels/kernels.hpp"
#include "training/shared_out.hpp"

namespace seqgen {
namespace {

constexpr std::size_t kWorthAThread = 1 << 16;  // logits: fewer are done before a thread has started

struct Sizes {
    std::size_t rows, classes, together;

    explicit Sizes(const seqgen_softmax& call)
        : rows(static_cast<std::size_t>(call.rows)),
          classes(static_cast<std::size_t>(call.classes)),
          together(kWorthAThread / classes + 1) {}
    Pieces pieces() const { return {rows, together}; }
    // Room for a row in float32, of a thread's own: the first row of its share says where.
    std::vector<float> scratch() const { return std::vector<float>(up(rows, together) / together * classes); }
    float* of(std::vector<float>& made, std::size_t first) const { return made.data() + first / together * classes; }
};

const float* single(const Kernels&, const float* row, std::size_t, float*) { return row; }
const float* single(const Kernels& kernels, const std::uint16_t* row, std::size_t classes, float* to) {
    kernels.from_bf16(row, classes, to);
    return to;
}

float* written(float* row, float*) { return row; }
float* written(std::uint16_t*, float* scratch) { return scratch; }
void finish(const Kernels&, const float*, std::size_t, float*) {}
void finish(const Kernels& kernels, const float* from, std::size_t classes, std::uint16_t* row) {
    kernels.to_bf16(from, classes, row);
}

template <typename T>
void forward(const seqgen_softmax& call, const Kernels& kernels) {
    const Sizes sizes(call);
    const auto* const logits = static_cast<const T*>(call.logits);
    std::vector<float> scratch = sizes.scratch();
    shared_out(sizes.pieces(), call.threads, [&](std::size_t first, std::size_t last) {
        float* const room = sizes.of(scratch, first);
        for (std::size_t row = first; row < last; ++row) {
            const float* const x = single(kernels, logits + row * sizes.classes, sizes.classes, room);
            const LogSum sum = kernels.log_sum(x, sizes.classes);
            call.log_sums[2 * row] = sum.highest;
            call.log_sums[2 * row + 1] = sum.rest;
            call.log_probs[row] = x[call.symbols[row]] - sum.highest - sum.rest;
        }
    });
}

template <typename T>
void backward(const seqgen_softmax& call, const Kernels& kernels) {
    const Sizes sizes(call);
    const auto* const logits = static_cast<const T*>(call.logits);
    auto* const made = static_cast<T*>(call.grad_logits);
    std::vector<float> scratch = sizes.scratch();
    shared_out(sizes.pieces(), call.threads, [&](std::size_t first, std::size_t last) {
        float* const room = sizes.of(scratch, first);
        for (std::size_t row = first; row < last; ++row) {
            const float* const x = single(kernels, logits + row * sizes.classes, sizes.classes, room);
            float* const to = written(made + row * sizes.classes, room);
            const LogSum sum{call.log_sums[2 * row], call.log_sums[2 * row + 1]};
            kernels.softmax_gradient(x, sizes.classes, sum, call.grad[row], to);
            to[call.symbols[row]] += call.grad[row];
            finish(kernels, to, sizes.classes, made + row * sizes.classes);
        }
    });
}

}  // namespace

void softmax_forward(const seqgen_softmax& call) {
    const Kernels& kernels = choose_kernels(call.isa);
    call.format == SEQGEN_FORMAT_BF16 ? forward<std::uint16_t>(call, kernels) : forward<float>(call, kernels);
}

void softmax_backward(const seqgen_softmax& call) {
    const Kernels& kernels = choose_kernels(call.isa);
    call.format == SEQGEN_FORMAT_BF16 ? backward<std::uint16_t>(call, kernels) : backward<float>(call, kernels);
}

}  // namespace seqgen
