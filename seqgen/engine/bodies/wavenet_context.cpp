#include "bodies/wavenet_context.hpp"

#include <algorithm>
#include <cstring>

#include "program/failure.hpp"

namespace seqgen {

WaveNetContext::WaveNetContext(const Json& op, const Tensors& tensors, seqgen_format format, const Kernels& kernels,
                               std::size_t vector, const std::string& where)
    : vector_(vector) {
    constexpr std::int64_t kMostRate = 1 << 12, kMostWidth = 1 << 8;
    constexpr std::size_t kMostOps = 256;
    rate_ = static_cast<std::size_t>(op.at("rate", where).integer(1, kMostRate, where + ": rate"));
    if (const Json* embedding = op.find("embedding")) {
        std::vector<std::int64_t> shape = {kClasses, -1};
        embedding_ = tensors.floats(embedding->string(where), shape);
        if (shape[1] > kMostWidth)
            throw Failure(SEQGEN_UNSUPPORTED, where + ": an embedding of more than 256 channels");
        width_ = static_cast<std::size_t>(shape[1]);
    }
    net_ = Conditioner(rate_ * width_, format == SEQGEN_FORMAT_FLOAT32 ? SEQGEN_FORMAT_FLOAT32 : SEQGEN_FORMAT_BF16,
                       kernels);
    const auto& ops = op.at("ops", where).list(where);
    if (ops.size() > kMostOps) throw Failure(SEQGEN_FORMAT, where + ": a context of more than 256 ops");
    for (const Json& each : ops) {
        if (net_.append(each, tensors, where)) continue;
        throw Failure(SEQGEN_UNSUPPORTED, where + ": unknown op '" + each.at("op", where).string(where) +
                                              "' in the context; known: " + Conditioner::kKnownOps);
    }
    const Conditioner::Value made = net_.value(op.at("out", where).string(where), where);
    if (made.width != vector)
        throw Failure(SEQGEN_FORMAT, where + ": the context has another width than the gates take");
    out_ = made.offset;
}

void WaveNetContext::init(unsigned char* state) const {
    std::memset(state, 0, state_bytes());
    if (net_.initial().empty()) return;
    const std::size_t bytes = net_.initial().size() * sizeof(float);
    std::memcpy(state + state_bytes() - bytes, net_.initial().data(), bytes);
}

bool WaveNetContext::fits(const unsigned char* state) const {
    std::uint32_t phase;
    std::memcpy(&phase, state, sizeof phase);
    return phase < rate_;
}

void WaveNetContext::load(Stream& own, const unsigned char* state) const {
    std::memcpy(&own.phase, state, sizeof own.phase);
    own.held = own.waiting + rate_ * width_;
    own.net = own.held + vector_;
    std::memcpy(own.waiting, state + sizeof own.phase, floats() * sizeof(float));
    std::fill_n(own.scratch, scratch(), 0.0f);  // values are padded to whole vectors
}

void WaveNetContext::save(const Stream& own, unsigned char* state) const {
    std::memcpy(state, &own.phase, sizeof own.phase);
    std::memcpy(state + sizeof own.phase, own.waiting, floats() * sizeof(float));
}

bool WaveNetContext::take(Stream& own, int symbol) const {
    std::copy_n(embedding_.data() + static_cast<std::size_t>(symbol) * width_, width_,
                own.waiting + own.phase * width_);
    return taken(own);
}

bool WaveNetContext::take(Stream& own, float value) const {
    own.waiting[own.phase] = value;
    return taken(own);
}

bool WaveNetContext::taken(Stream& own) const {
    if (++own.phase < rate_) return false;
    own.phase = 0;
    net_.run(own.waiting, 0, own.scratch, own.net, 1);
    std::copy_n(own.scratch + out_, vector_, own.held);
    return true;
}

}  // namespace seqgen
