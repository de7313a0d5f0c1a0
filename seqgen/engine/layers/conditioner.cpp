#include "layers/conditioner.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/functions.hpp"
#include "program/failure.hpp"

namespace seqgen {
namespace {

constexpr std::int64_t kMostSize = 1 << 16;
// Every op makes a value as wide as a tensor or the features: without a bound a short program asks for any memory.
constexpr std::size_t kMostScratch = std::size_t{1} << 20;

}  // namespace

Conditioner::Conditioner(std::size_t channels, seqgen_format format, const Kernels& kernels)
    : kernels_(&kernels), format_(format), channels_(channels) {
    values_["features"] = {reserve(channels), channels};
}

std::size_t Conditioner::reserve(std::size_t width) {
    const std::size_t offset = scratch_;
    scratch_ += padded(width);
    if (scratch_ > kMostScratch) {
        throw Failure(SEQGEN_UNSUPPORTED, "the network's values are more than " + std::to_string(kMostScratch) +
                                              " numbers a frame, the most that is known");
    }
    return offset;
}

Conditioner::Value Conditioner::value(const std::string& name, const std::string& where) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw Failure(SEQGEN_FORMAT, where + ": no op before it makes '" + name + "'");
    return found->second;
}

bool Conditioner::append(const Json& described, const Tensors& tensors, const std::string& where) {
    static const std::map<std::string, Kind> kinds = {{"normalise", Kind::normalise},
                                                      {"slice", Kind::slice},
                                                      {"conv", Kind::conv},
                                                      {"dense", Kind::dense},
                                                      {"add", Kind::add},
                                                      {"relu", Kind::relu},
                                                      {"gelu", Kind::gelu},
                                                      {"period", Kind::period}};
    const auto kind = kinds.find(described.at("op", where).string(where));
    if (kind == kinds.end()) return false;
    const Value in = value(described.at("in", where).string(where), where);
    Op op;
    op.kind = kind->second;
    op.in = in.offset;
    op.width = in.width;
    std::size_t width = in.width;
    if (op.kind == Kind::normalise || op.kind == Kind::slice) {
        cut(op, described, where);
        width = op.width;
    } else if (op.kind == Kind::add) {
        const Value second = value(described.at("and", where).string(where), where);
        if (second.width != width) throw Failure(SEQGEN_FORMAT, where + ": values of different widths are added");
        op.second = second.offset;
    } else if (op.kind == Kind::period) {
        tell_period(op, described, where);
        width = op.width + 2;
    } else if (op.kind == Kind::conv || op.kind == Kind::dense) {
        width = product(op, described, tensors, where);
    }
    const std::string& name = described.at("out", where).string(where);
    if (values_.count(name) != 0) throw Failure(SEQGEN_FORMAT, where + ": '" + name + "' is made twice");
    op.out = reserve(width);
    values_[name] = {op.out, width};
    ops_.push_back(std::move(op));
    return true;
}

void Conditioner::tell_period(Op& op, const Json& described, const std::string& where) {
    const auto real = [&](const char* name) {
        const double found = described.at(name, where).real(where);
        if (!std::isfinite(found) || std::fabs(found) > 1e6) {
            throw Failure(SEQGEN_FORMAT, where + ": '" + name + "' is not within a million");
        }
        return static_cast<float>(found);
    };
    const auto last = static_cast<std::int64_t>(op.width) - 2;
    op.in += static_cast<std::size_t>(described.at("start", where).integer(0, last, where));
    op.shift = real("silence");
    op.longest = real("longest");
    op.span = real("span");
    if (op.shift == 0) throw Failure(SEQGEN_FORMAT, where + ": 'silence' is 0");
    const Value second = value(described.at("and", where).string(where), where);
    op.second = second.offset;
    op.width = second.width;
    op.dilation = static_cast<std::size_t>(described.at("delay", where).integer(0, 1 << 10, where));
    op.history = initial_.size();
    for (std::size_t frame = 0; frame < op.dilation; ++frame) {
        initial_.push_back(op.longest);
        initial_.push_back(0.0f);
    }
}

// As seqgen/models/frames.py has it.
void Conditioner::period(const Op& op, const float* features, float* history, float* made) {
    const float weighed = 1.0f - features[0] / op.shift, clarity = 1.0f - features[1] / op.shift;
    const float clear = std::max(clarity, 1e-3f);
    const float pitch = clarity > 0 ? weighed / (clear * clear) : 0.0f;
    const float told = op.longest - op.span * (pitch > 0 ? (pitch < 1 ? pitch : 1.0f) : 0.0f);
    made[0] = told;
    made[1] = clarity;
    if (op.dilation == 0) return;
    std::swap_ranges(made, made + 2, history);
    std::rotate(history, history + 2, history + 2 * op.dilation);
}

void Conditioner::cut(Op& op, const Json& described, const std::string& where) {
    const auto width = static_cast<std::int64_t>(op.width);
    const std::int64_t start = described.at("start", where).integer(0, width - 1, where);
    const std::int64_t stop = described.at("stop", where).integer(start + 1, width, where);
    op.in += static_cast<std::size_t>(start);
    op.width = static_cast<std::size_t>(stop - start);
    if (op.kind == Kind::slice) return;
    op.shift = static_cast<float>(described.at("shift", where).real(where));
    op.scale = static_cast<float>(described.at("scale", where).real(where));
    if (!std::isfinite(op.shift) || !std::isfinite(op.scale)) {
        throw Failure(SEQGEN_FORMAT, where + ": 'shift' and 'scale' do not fit into float32");
    }
}

// Weights of a dense layer [out, in] or a convolution [out, in, taps]; returns the number of outputs.
std::size_t Conditioner::product(Op& op, const Json& described, const Tensors& tensors, const std::string& where) {
    const bool conv = op.kind == Kind::conv;
    std::vector<std::int64_t> shape = {-1, static_cast<std::int64_t>(op.width)};
    if (conv) shape.push_back(-1);
    const std::vector<float> weight = tensors.floats(described.at("weight", where).string(where), shape);
    const auto outputs = static_cast<std::size_t>(shape[0]);
    op.taps = conv ? static_cast<std::size_t>(shape[2]) : 1;
    MatrixSource source = MatrixSource::plain(weight.data(), outputs, op.width * op.taps);
    for (std::size_t tap = 0; tap < op.taps; ++tap) {
        for (std::size_t i = 0; i < op.width; ++i)
            source.columns[tap * op.width + i] = static_cast<int>(i * op.taps + tap);
    }
    op.matrix = PackedMatrix(source, format_, Activations::state, *kernels_);
    op.bias.assign(outputs, 0.0f);
    if (const Json* bias = described.find("bias")) {
        shape = {static_cast<std::int64_t>(outputs)};
        op.bias = tensors.floats(bias->string(where), shape);
    }
    if (conv) remember(op, described, tensors, where);
    return outputs;
}

// A convolution carries its last (taps - 1) * dilation inputs, oldest first; the program brings those of a fresh
// stream.
void Conditioner::remember(Op& op, const Json& described, const Tensors& tensors, const std::string& where) {
    op.dilation = static_cast<std::size_t>(described.at("dilation", where).integer(1, kMostSize, where));
    op.line = reserve(op.width * op.taps);
    op.history = initial_.size();
    if (op.taps == 1) return;
    std::vector<std::int64_t> shape = {1, static_cast<std::int64_t>((op.taps - 1) * op.dilation),
                                       static_cast<std::int64_t>(op.width)};
    const std::vector<float> fresh = tensors.floats(described.at("initial", where).string(where), shape);
    initial_.insert(initial_.end(), fresh.begin(), fresh.end());
}

void Conditioner::run(const float* features, std::size_t features_stride, float* scratch, float* state,
                      int streams) const {
    for (int s = 0; s < streams; ++s) {
        const auto row = static_cast<std::size_t>(s);
        std::copy_n(features + row * features_stride, channels_, scratch + row * scratch_);
    }
    for (const Op& op : ops_) apply(op, scratch, state, streams);
}

void Conditioner::convolve(const Op& op, float* scratch, float* state, int streams) const {
    const std::size_t left = (op.taps - 1) * op.dilation;
    for (int s = 0; s < streams; ++s) {
        float* own = scratch + static_cast<std::size_t>(s) * scratch_;
        float* history = state + static_cast<std::size_t>(s) * initial_.size() + op.history;
        for (std::size_t tap = 0; tap + 1 < op.taps; ++tap) {
            std::copy_n(history + tap * op.dilation * op.width, op.width, own + op.line + tap * op.width);
        }
        std::copy_n(own + op.in, op.width, own + op.line + (op.taps - 1) * op.width);
        if (left == 0) continue;
        std::memmove(history, history + op.width, (left - 1) * op.width * sizeof(float));
        std::copy_n(own + op.in, op.width, history + (left - 1) * op.width);
    }
    op.matrix(op.matrix.all(), Rows<const float>{scratch + op.line, scratch_}, {scratch + op.out, scratch_}, streams);
}

void Conditioner::apply(const Op& op, float* scratch, float* state, int streams) const {
    if (op.kind == Kind::conv) convolve(op, scratch, state, streams);
    if (op.kind == Kind::dense) {
        op.matrix(op.matrix.all(), Rows<const float>{scratch + op.in, scratch_}, {scratch + op.out, scratch_}, streams);
    }
    for (int s = 0; s < streams; ++s) {
        float* own = scratch + static_cast<std::size_t>(s) * scratch_;
        const float *x = own + op.in, *second = own + op.second;
        float* y = own + op.out;
        switch (op.kind) {
            case Kind::normalise:
                for (std::size_t i = 0; i < op.width; ++i) y[i] = (x[i] - op.shift) * op.scale;
                break;
            case Kind::slice:
                std::copy_n(x, op.width, y);
                break;
            case Kind::add:
                for (std::size_t i = 0; i < op.width; ++i) y[i] = x[i] + second[i];
                break;
            case Kind::relu:
                for (std::size_t i = 0; i < op.width; ++i) y[i] = std::max(x[i], 0.0f);
                break;
            case Kind::period:
                period(op, x, state + static_cast<std::size_t>(s) * initial_.size() + op.history, y);
                std::copy_n(second, op.width, y + 2);
                break;
            case Kind::gelu:
                for (std::size_t i = 0; i < op.width; ++i) y[i] = static_cast<float>(gelu(x[i]));
                break;
            case Kind::conv:
            case Kind::dense:
                for (std::size_t i = 0; i < op.bias.size(); ++i) y[i] += op.bias[i];
                break;
        }
    }
}

}  // namespace seqgen
