// A recurrence and a dilated stack over sequences and a softmax, forward and back, by some threads: the bits of one thread, in arrays of exactly
// the size that the interface tells. Run under the sanitizers by `make sanitize`, without them by the tests.
//
//     training [ISA ...]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "seqgen_engine.h"

namespace {

std::mt19937 random_bits(1);

void need(std::int32_t status, const char* message) {
    if (status == SEQGEN_OK) return;
    std::fprintf(stderr, "training: %s\n", message);
    std::_Exit(1);
}

std::vector<float> drawn(std::size_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> made(count);
    for (float& one : made) one = normal(random_bits);
    return made;
}

// A call with the settings that all calls have.
template <typename Call>
Call begun(const char* isa, std::int32_t format, std::int32_t threads, std::size_t rows) {
    Call call{};
    call.struct_size = sizeof call;
    call.isa = isa;
    call.format = format;
    call.threads = threads;
    call.rows = static_cast<std::int64_t>(rows);
    return call;
}

// Lines that inputs are sums of, some of all rows and some of each, and room for their gradients.
struct LineSums {
    std::size_t shared_lines, own_lines;
    std::vector<float> coefficients, shared, own, grad_shared, grad_own;

    LineSums(bool any, std::size_t rows, std::size_t steps, std::size_t width)
        : shared_lines(any ? 2 : 0),
          own_lines(any ? 3 : 0),
          coefficients(drawn(rows * steps * (shared_lines + own_lines))),
          shared(drawn(shared_lines * width)),
          own(drawn(rows * own_lines * width)),
          grad_shared((rows + 1) / 2 * shared.size()),
          grad_own(own.size()) {}

    template <typename Call>
    void enter(Call& call) {
        call.shared_lines = static_cast<std::int64_t>(shared_lines);
        call.own_lines = static_cast<std::int64_t>(own_lines);
        call.coefficients = coefficients.data();
        call.shared = shared.data();
        call.own = own.data();
        call.grad_shared = grad_shared.data();
        call.grad_own = grad_own.data();
    }
};

struct Shape {
    std::size_t rows, steps, groups, width;
};

// All that the two calls write, as bytes.
std::string run(const Shape& shape, const char* isa, std::int32_t format, std::int32_t threads, bool keep, bool lines) {
    random_bits.seed(7);
    const std::size_t state = shape.groups * shape.width, steps = shape.rows * shape.steps;
    const std::size_t element = format == SEQGEN_FORMAT_BF16 ? 2 : 4;
    const std::vector<float> inputs = drawn(steps * 3 * state), hidden = drawn(shape.rows * state),
                             weight = drawn(3 * state * state), grad = drawn(steps * state);
    LineSums sums(lines, shape.rows, shape.steps, 3 * state);
    std::vector<float> states(steps * state), kept(keep ? 4 * steps * state : 0),
        grad_inputs(lines ? 0 : steps * 3 * state), grad_hidden(shape.rows * state);
    std::vector<char> grad_products(steps * 3 * state * element), entered(steps * state * element);
    auto call = begun<seqgen_gru>(isa, format, threads, shape.rows);
    sums.enter(call);
    call.steps = static_cast<std::int64_t>(shape.steps);
    call.groups = static_cast<std::int64_t>(shape.groups);
    call.width = static_cast<std::int64_t>(shape.width);
    call.inputs = lines ? nullptr : inputs.data();
    call.hidden = hidden.data();
    call.weight = weight.data();
    call.states = states.data();
    call.kept = keep ? kept.data() : nullptr;
    call.grad = grad.data();
    call.grad_inputs = lines ? nullptr : grad_inputs.data();
    call.grad_hidden = grad_hidden.data();
    call.grad_products = grad_products.data();
    call.entered = entered.data();
    char message[256];
    need(seqgen_gru_forward(&call, message, sizeof message), message);
    if (keep) need(seqgen_gru_backward(&call, message, sizeof message), message);
    std::string made;
    const auto add = [&](const void* from, std::size_t bytes) { made.append(static_cast<const char*>(from), bytes); };
    for (const auto* one : {&states, &kept, &grad_inputs, &grad_hidden, &sums.grad_shared, &sums.grad_own}) add(one->data(), one->size() * sizeof(float));
    add(grad_products.data(), grad_products.size());
    add(entered.data(), entered.size());
    return made;
}

struct StackShape {
    std::size_t rows, steps, width, gate, taps;
    std::vector<std::int64_t> dilations;
    bool last;  // whether the last layer has a residual
};

// The same of a stack; `how` says whether inputs are lines, and whether there is a history.
std::string stack(const StackShape& shape, const char* isa, std::int32_t format, std::int32_t threads, int how) {
    random_bits.seed(11);
    const bool lines = how % 2 == 1, history = how >= 2;
    const std::size_t element = format == SEQGEN_FORMAT_BF16 ? 2 : 4, layers = shape.dilations.size(), gates = 2 * shape.gate,
                      residuals = shape.last ? layers : layers - 1, steps = shape.rows * shape.steps;
    const auto padded = [&](std::size_t count) { return element == 2 ? (count + 31) / 32 * 32 : count; };
    std::size_t reach = 0;
    for (const std::int64_t dilation : shape.dilations) reach += (shape.taps - 1) * static_cast<std::size_t>(dilation);
    const std::size_t channels = layers * gates;
    const std::vector<float> entered = drawn(steps * shape.width), heard = drawn(shape.rows * reach * shape.width),
                             weights = drawn(layers * gates * shape.taps * shape.width),
                             outputs = drawn(residuals * shape.width * shape.gate), biases = drawn(residuals * shape.width),
                             inputs = drawn(lines ? 0 : steps * channels), grad_left = drawn(steps * shape.width),
                             of_z = drawn(steps * layers * shape.gate);
    LineSums sums(lines, shape.rows, shape.steps, channels);
    std::vector<char> grad_z(of_z.size() * element), read(layers * steps * padded(shape.taps * shape.width) * element),
        passed(residuals * steps * padded(shape.gate) * element), grad_inner(layers * steps * padded(gates) * element),
        grad_outputs(residuals * steps * padded(shape.width) * element), kept(layers * steps * gates * element),
        z(of_z.size() * element);
    for (std::size_t i = 0; i < of_z.size(); ++i) {
        const auto* bytes = reinterpret_cast<const char*>(&of_z[i]);
        std::memcpy(grad_z.data() + i * element, bytes + sizeof(float) - element, element);
    }
    std::vector<float> left(steps * shape.width), ahead(heard.size()), grad_entered(steps * shape.width),
        grad_biases(shape.rows * residuals * shape.width), grad_inputs(inputs.size());
    auto call = begun<seqgen_dilated>(isa, format, threads, shape.rows);
    sums.enter(call);
    call.steps = static_cast<std::int64_t>(shape.steps);
    call.layers = static_cast<std::int64_t>(layers);
    call.residuals = static_cast<std::int64_t>(residuals);
    call.taps = static_cast<std::int64_t>(shape.taps);
    call.width = static_cast<std::int64_t>(shape.width);
    call.gate = static_cast<std::int64_t>(shape.gate);
    call.dilations = shape.dilations.data();
    call.entered = entered.data();
    call.history = history ? heard.data() : nullptr;
    call.weights = weights.data();
    call.outputs = outputs.data();
    call.biases = biases.data();
    call.inputs = lines ? nullptr : inputs.data();
    call.read = read.data();
    call.passed = passed.data();
    call.grad_inner = grad_inner.data();
    call.grad_outputs = grad_outputs.data();
    call.kept = kept.data();
    call.z = z.data();
    call.grad_z = grad_z.data();
    call.left = left.data();
    call.ahead = ahead.data();
    call.grad_left = shape.last ? grad_left.data() : nullptr;
    call.grad_ahead = history ? heard.data() : nullptr;
    call.grad_entered = grad_entered.data();
    call.grad_biases = grad_biases.data();
    call.grad_inputs = lines ? nullptr : grad_inputs.data();
    char message[256];
    need(seqgen_dilated_forward(&call, message, sizeof message), message);
    need(seqgen_dilated_backward(&call, message, sizeof message), message);
    std::string made;
    for (const auto* one : {&read, &passed, &grad_inner, &grad_outputs, &kept, &z}) made.append(one->data(), one->size());
    for (const auto* one : {&left, &ahead, &grad_entered, &grad_biases, &grad_inputs, &sums.grad_shared, &sums.grad_own}) {
        made.append(reinterpret_cast<const char*>(one->data()), one->size() * sizeof(float));
    }
    return made;
}

// The same of a softmax over some classes.
std::string softmax(std::size_t rows, std::size_t classes, const char* isa, std::int32_t format, std::int32_t threads) {
    random_bits.seed(9);
    const std::size_t element = format == SEQGEN_FORMAT_BF16 ? 2 : 4;
    std::vector<char> logits(rows * classes * element), grad_logits(logits.size());
    const std::vector<float> drawn_logits = drawn(rows * classes), grad = drawn(rows);
    for (std::size_t i = 0; i < rows * classes; ++i) {
        const auto* bytes = reinterpret_cast<const char*>(&drawn_logits[i]);
        std::memcpy(logits.data() + i * element, bytes + sizeof(float) - element, element);
    }
    std::vector<std::int64_t> symbols(rows);
    for (std::size_t row = 0; row < rows; ++row) symbols[row] = static_cast<std::int64_t>(row * 7 % classes);
    std::vector<float> log_probs(rows), log_sums(2 * rows);
    auto call = begun<seqgen_softmax>(isa, format, threads, rows);
    call.classes = static_cast<std::int64_t>(classes);
    call.logits = logits.data();
    call.symbols = symbols.data();
    call.log_probs = log_probs.data();
    call.log_sums = log_sums.data();
    call.grad = grad.data();
    call.grad_logits = grad_logits.data();
    char message[256];
    need(seqgen_softmax_forward(&call, message, sizeof message), message);
    need(seqgen_softmax_backward(&call, message, sizeof message), message);
    std::string made(grad_logits.begin(), grad_logits.end());
    for (const auto* one : {&log_probs, &log_sums}) {
        made.append(reinterpret_cast<const char*>(one->data()), one->size() * sizeof(float));
    }
    return made;
}

}  // namespace

int main(int count, char** words) {
    const Shape shapes[] = {{1, 1, 1, 16}, {9, 3, 2, 20}, {17, 4, 1, 33}, {3, 2, 3, 5}, {33, 2, 1, 64}, {2, 0, 1, 3}};
    int runs = 0;
    for (int word = 0; word < count; ++word) {
        const char* isa = word == 0 ? nullptr : words[word];  // first what is taken where none is named
        for (const Shape& shape : shapes) {
            for (const std::int32_t format : {SEQGEN_FORMAT_FLOAT32, SEQGEN_FORMAT_BF16}) {
                for (const int how : {0, 1, 2, 3}) {
                    const bool keep = how % 2 == 1, lines = how >= 2;
                    const std::string alone = run(shape, isa, format, 1, keep, lines);
                    for (const std::int32_t threads : {2, 5, 64}) {
                        if (run(shape, isa, format, threads, keep, lines) != alone) need(1, "threads change bits");
                        ++runs;
                    }
                }
            }
        }
    }
    const StackShape stacks[] = {{1, 1, 1, 1, 2, {1}, false}, {5, 70, 5, 20, 3, {1, 2, 50}, true}, {3, 3, 33, 16, 2, {8, 1}, false}};
    for (int word = 0; word < count; ++word) {
        const char* isa = word == 0 ? nullptr : words[word];
        for (const StackShape& shape : stacks) {
            for (const std::int32_t format : {SEQGEN_FORMAT_FLOAT32, SEQGEN_FORMAT_BF16}) {
                for (const int how : {0, 1, 2, 3}) {
                    const std::string alone = stack(shape, isa, format, 1, how);
                    for (const std::int32_t threads : {2, 5, 64}) {
                        if (stack(shape, isa, format, threads, how) != alone) need(1, "threads change bits");
                        ++runs;
                    }
                }
            }
        }
    }
    for (int word = 0; word < count; ++word) {
        const char* isa = word == 0 ? nullptr : words[word];
        for (const std::size_t classes : {1, 7, 16, 65, 256, 40000}) {
            for (const std::int32_t format : {SEQGEN_FORMAT_FLOAT32, SEQGEN_FORMAT_BF16}) {
                const std::string alone = softmax(300, classes, isa, format, 1);
                for (const std::int32_t threads : {2, 5, 64}) {
                    if (softmax(300, classes, isa, format, threads) != alone) need(1, "threads change bits");
                    ++runs;
                }
            }
        }
    }
    std::printf("%d runs by several threads, the bits of one\n", runs);
    return 0;
}
