// The part of the C interface that training uses.
#include "session/guard.hpp"
#include "training/dilated.hpp"
#include "training/gru.hpp"
#include "training/softmax.hpp"

namespace seqgen {
namespace {

void require_form(int32_t format, int32_t threads) {
    require(format == SEQGEN_FORMAT_FLOAT32 || format == SEQGEN_FORMAT_BF16,
            "format is " + std::to_string(format) + "; give SEQGEN_FORMAT_FLOAT32 or SEQGEN_FORMAT_BF16");
    require(threads >= 1 && threads <= 1024, std::to_string(threads) + " threads; give 1 to 1024");
}

bool within(std::int64_t size, std::int64_t most) { return size >= 1 && size <= most; }

void require_dilations(const std::int64_t* dilations, std::int64_t layers) {
    require(dilations != nullptr, "dilations is null");
    for (std::int64_t layer = 0; layer < layers; ++layer) {
        require(within(dilations[layer], std::int64_t{1} << 30),
                "dilation " + std::to_string(dilations[layer]) + " of layer " + std::to_string(layer) + "; give 1 to 2^30");
    }
}

seqgen_gru checked(const seqgen_gru* given, bool backward) {
    const seqgen_gru call = whole(given, "seqgen_gru");
    require_form(call.format, call.threads);
    require(call.rows >= 0 && call.steps >= 0, "rows and steps must not be negative");
    require(call.groups >= 1 && call.width >= 1 && call.groups <= (1 << 20) / call.width,
            "a state of " + std::to_string(call.groups) + " times " + std::to_string(call.width) + " numbers; give 1 to 2^20");
    require(call.steps == 0 || call.rows <= (std::int64_t{1} << 40) / call.steps, "rows times steps is out of range");
    const bool any = call.rows > 0 && call.steps > 0;
    require(call.weight != nullptr && (!any || (call.hidden != nullptr && call.states != nullptr)),
            "weight, hidden or states is null");
    require(call.shared_lines >= 0 && call.own_lines >= 0 && call.shared_lines <= 65536 && call.own_lines <= 65536,
            "lines must be 0 to 65536");
    if (any && (backward ? call.grad_inputs : call.inputs) == nullptr) {
        const float* const shared = backward ? call.grad_shared : call.shared;
        const float* const own = backward ? call.grad_own : call.own;
        require(call.shared_lines + call.own_lines > 0 && call.coefficients != nullptr &&
                    (call.shared_lines == 0 || shared != nullptr) && (call.own_lines == 0 || own != nullptr),
                "neither the gates' inputs nor lines that they are sums of are given");
    }
    require(!backward || call.rows == 0 || call.grad_hidden != nullptr, "grad_hidden is null");
    require(!backward || !any || (call.kept != nullptr && call.grad != nullptr && call.grad_products != nullptr &&
                                  call.entered != nullptr),
            "kept, grad, grad_products or entered is null");
    return call;
}

seqgen_dilated checked(const seqgen_dilated* given, bool backward) {
    const seqgen_dilated call = whole(given, "seqgen_dilated");
    require_form(call.format, call.threads);
    require(call.rows >= 0 && call.steps >= 0, "rows and steps must not be negative");
    require(within(call.layers, 4096) && within(call.width, 65536) && within(call.gate, 65536) && call.taps >= 2 && call.taps <= 8,
            "a stack of " + std::to_string(call.layers) + " layers of " + std::to_string(call.taps) + " taps, " +
                std::to_string(call.width) + " channels and " + std::to_string(call.gate) +
                " gated units; give up to 4096 layers, 2 to 8 taps and up to 65536 of the others");
    require(call.residuals == call.layers || call.residuals == call.layers - 1, "residuals are all layers, or all but the last");
    require_dilations(call.dilations, call.layers);
    require(call.steps == 0 || call.rows <= (std::int64_t{1} << 40) / call.steps, "rows times steps is out of range");
    require(call.weights != nullptr && (call.residuals == 0 || call.outputs != nullptr), "weights or outputs is null");
    require(call.shared_lines >= 0 && call.own_lines >= 0 && call.shared_lines <= 65536 && call.own_lines <= 65536,
            "lines must be 0 to 65536");
    if (call.rows == 0 || call.steps == 0) return call;
    require(call.kept != nullptr && (backward || (call.read != nullptr && call.z != nullptr && call.entered != nullptr &&
                                                      (call.residuals == 0 || call.passed != nullptr))),
            "kept, read, passed, z or entered is null");
    require(backward || call.residuals == 0 || call.biases != nullptr, "biases is null");
    if ((backward ? call.grad_inputs : call.inputs) == nullptr) {
        const float* const shared = backward ? call.grad_shared : call.shared;
        const float* const own = backward ? call.grad_own : call.own;
        require(call.shared_lines + call.own_lines > 0 && call.coefficients != nullptr &&
                    (call.shared_lines == 0 || shared != nullptr) && (call.own_lines == 0 || own != nullptr),
                "neither the gates' inputs nor lines that they are sums of are given");
    }
    require(!backward || (call.grad_z != nullptr && call.grad_entered != nullptr && call.grad_inner != nullptr &&
                          (call.residuals == 0 || (call.grad_outputs != nullptr && call.grad_biases != nullptr))),
            "grad_z, grad_entered, grad_inner, grad_outputs or grad_biases is null");
    return call;
}

seqgen_softmax checked(const seqgen_softmax* given, bool backward) {
    const seqgen_softmax call = whole(given, "seqgen_softmax");
    require_form(call.format, call.threads);
    require(call.classes >= 1 && call.classes <= (std::int64_t{1} << 24),
            std::to_string(call.classes) + " classes; give 1 to 2^24");
    require(call.rows >= 0 && call.rows <= (std::int64_t{1} << 40) / call.classes, "rows times classes is out of range");
    if (call.rows == 0) return call;
    require(call.logits != nullptr && call.symbols != nullptr && call.log_sums != nullptr,
            "logits, symbols or log_sums is null");
    require(backward ? call.grad != nullptr && call.grad_logits != nullptr : call.log_probs != nullptr,
            "log_probs, grad or grad_logits is null");
    for (std::int64_t row = 0; row < call.rows; ++row) {
        require(call.symbols[row] >= 0 && call.symbols[row] < call.classes,
                "symbol " + std::to_string(call.symbols[row]) + " in row " + std::to_string(row) + "; give 0 to " +
                    std::to_string(call.classes - 1));
    }
    return call;
}

}  // namespace
}  // namespace seqgen

int32_t seqgen_gru_forward(const seqgen_gru* call, char* message, size_t message_bytes) {
    return seqgen::guarded(message, message_bytes, [&] { seqgen::gru_forward(seqgen::checked(call, false)); });
}

int32_t seqgen_gru_backward(const seqgen_gru* call, char* message, size_t message_bytes) {
    return seqgen::guarded(message, message_bytes, [&] { seqgen::gru_backward(seqgen::checked(call, true)); });
}

int32_t seqgen_dilated_forward(const seqgen_dilated* call, char* message, size_t message_bytes) {
    return seqgen::guarded(message, message_bytes, [&] { seqgen::dilated_forward(seqgen::checked(call, false)); });
}

int32_t seqgen_dilated_backward(const seqgen_dilated* call, char* message, size_t message_bytes) {
    return seqgen::guarded(message, message_bytes, [&] { seqgen::dilated_backward(seqgen::checked(call, true)); });
}

int32_t seqgen_softmax_forward(const seqgen_softmax* call, char* message, size_t message_bytes) {
    return seqgen::guarded(message, message_bytes, [&] { seqgen::softmax_forward(seqgen::checked(call, false)); });
}

int32_t seqgen_softmax_backward(const seqgen_softmax* call, char* message, size_t message_bytes) {
    return seqgen::guarded(message, message_bytes, [&] { seqgen::softmax_backward(seqgen::checked(call, true)); });
}
