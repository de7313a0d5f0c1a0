#include "session.hpp"

#include <algorithm>
#include <cstring>

namespace seqgen {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

unsigned char* aligned(void* pointer) {
    const auto address = reinterpret_cast<std::uintptr_t>(pointer);
    return static_cast<unsigned char*>(pointer) + ((kAlignment - address % kAlignment) % kAlignment);
}

// Reads or writes the next part of a state blob.
void get(const unsigned char*& from, void* to, std::size_t bytes) {
    std::memcpy(to, from, bytes);
    from += bytes;
}
void append(unsigned char*& to, const void* from, std::size_t bytes) {
    std::memcpy(to, from, bytes);
    to += bytes;
}

}  // namespace

template <typename T>
T* Session::take(std::size_t count) {
    T* taken = reinterpret_cast<T*>(free_);
    free_ += aligned(count * sizeof(T));
    return taken;
}

std::size_t Session::workspace(const Model& model, int streams) {
    const auto rows = static_cast<std::size_t>(streams);
    const std::size_t half = model.cell.half(), gates = model.cell.gates();
    const std::size_t state = model.network.initial().size(), scratch = model.network.scratch();
    std::size_t sum = kAlignment;
    for (std::size_t floats :
         {2 * half, 2 * half, gates, gates, gates, gates, half, std::size_t{kClasses}, scratch, state}) {
        sum += aligned(rows * floats * sizeof(float));
    }
    sum += 2 * aligned(rows * 2 * half) + aligned(rows * half);
    if (model.prediction) {
        sum += aligned(rows * model.prediction->carried() * sizeof(std::int16_t));
        sum += aligned(model.prediction->scratch() * sizeof(double));
    }
    return sum;
}

Session::Session(const Model& model, const seqgen_call& call, bool drawing)
    : model_(model),
      call_(call),
      drawing_(drawing),
      crew_(model.team.get()),
      streams_(call.streams),
      skipped_(call.frames * static_cast<std::int64_t>(model.hop) - call.samples),
      free_(aligned(call.workspace)) {
    const auto rows = static_cast<std::size_t>(streams_);
    const std::size_t half = model.cell.half(), gates = model.cell.gates();
    lanes_.streams = streams_;
    lanes_.now = 0;
    for (float*& hidden : lanes_.hidden) hidden = take<float>(rows * 2 * half);
    lanes_.products = take<float>(rows * gates);
    lanes_.from = take<float>(rows * gates);
    lanes_.delta = take<float>(rows * gates);
    vector_ = take<float>(rows * gates);
    lanes_.inner = take<float>(rows * half);
    lanes_.logits = take<float>(rows * kClasses);
    scratch_ = take<float>(rows * model.network.scratch());
    network_state_ = take<float>(rows * model.network.initial().size());
    for (std::uint8_t*& bytes : lanes_.bytes) bytes = take<std::uint8_t>(rows * 2 * half);
    lanes_.inner_bytes = take<std::uint8_t>(rows * half);
    carried_ = model.prediction ? take<std::int16_t>(rows * model.prediction->carried()) : nullptr;
    power_ = model.prediction ? take<double>(model.prediction->scratch()) : nullptr;
    sharpness_ = 1.0f / std::max(call.temperature, 1e-3f);
    std::fill_n(scratch_, rows * model.network.scratch(), 0.0f);
    for (std::size_t s = 0; s < rows; ++s) {
        if (drawing && call.uniforms == nullptr) noise_[s] = Philox(call.seed, call.stream_ids[s]);
    }
}

void Session::load() {
    const std::size_t half = model_.cell.half(), gates = model_.cell.gates(), net = model_.network.initial().size();
    for (std::size_t s = 0; s < static_cast<std::size_t>(streams_); ++s) {
        const auto* from = static_cast<const unsigned char*>(call_.states[s]);
        get(from, &headers_[s], sizeof(StateHeader));
        get(from, lanes_.hidden[lanes_.now] + s * 2 * half, 2 * half * sizeof(float));
        get(from, vector_ + s * gates, gates * sizeof(float));
        if (net > 0) get(from, network_state_ + s * net, net * sizeof(float));
        if (carried_ != nullptr) {
            const std::size_t count = model_.prediction->carried();
            get(from, carried_ + s * count, count * sizeof(std::int16_t));
        }
        bytes_[s][0] = static_cast<int>(headers_[s].coarse);
        bytes_[s][1] = static_cast<int>(headers_[s].fine);
    }
    model_.cell.refresh(lanes_);
}

void Session::save() {
    const std::size_t half = model_.cell.half(), gates = model_.cell.gates(), net = model_.network.initial().size();
    for (std::size_t s = 0; s < static_cast<std::size_t>(streams_); ++s) {
        StateHeader& header = headers_[s];
        header.coarse = static_cast<std::uint32_t>(bytes_[s][0]);
        header.fine = static_cast<std::uint32_t>(bytes_[s][1]);
        header.ahead -= static_cast<std::uint32_t>(std::min<std::int64_t>(header.ahead, skipped_));
        auto* to = static_cast<unsigned char*>(call_.states[s]);
        append(to, &header, sizeof header);
        append(to, lanes_.hidden[lanes_.now] + s * 2 * half, 2 * half * sizeof(float));
        append(to, vector_ + s * gates, gates * sizeof(float));
        if (net > 0) append(to, network_state_ + s * net, net * sizeof(float));
        if (carried_ != nullptr) {
            const std::size_t count = model_.prediction->carried();
            append(to, carried_ + s * count, count * sizeof(std::int16_t));
        }
    }
}

void Session::run() {
    load();
    for (std::int64_t index = 0; index < call_.frames; ++index) {
        frame(index);
        const auto hop = static_cast<std::int64_t>(model_.hop);
        for (std::int64_t within = std::max<std::int64_t>(0, skipped_ - index * hop); within < hop; ++within) {
            sample(index * hop + within - skipped_, static_cast<std::size_t>(within));
        }
    }
    save();
}

// Runs the conditioning network over one frame and sets out for its vector from the one before.
void Session::frame(std::int64_t index) {
    if (crew_) crew_->summon();
    const std::size_t gates = model_.cell.gates(), width = model_.network.scratch();
    const std::size_t row = static_cast<std::size_t>(call_.frames) * model_.channels;
    const float* features = call_.features + static_cast<std::size_t>(index) * model_.channels;
    model_.network.run(features, row, scratch_, network_state_, streams_);
    for (std::size_t s = 0; s < static_cast<std::size_t>(streams_); ++s) {
        float *from = lanes_.from + s * gates, *delta = lanes_.delta + s * gates, *vector = vector_ + s * gates;
        std::copy_n(vector, gates, from);
        model_.cell.arrange(scratch_ + s * width + model_.vector.offset, vector);
        for (std::size_t i = 0; i < gates; ++i) delta[i] = vector[i] - from[i];
        if (carried_ != nullptr) {
            model_.prediction->frame(features + s * row, carried_ + s * model_.prediction->carried(), power_);
        }
    }
}

// Sees that the products of a half are there. A helper goes on to the fine rows while the coarse byte is drawn.
void Session::multiply(int which) {
    if (!crew_) {
        if (which == 0) model_.cell.multiply(lanes_, model_.cell.all());
        return;
    }
    const auto help = [](void* context, int job) {
        const Session& session = *static_cast<Session*>(context);
        session.model_.cell.multiply(session.lanes_, session.model_.cell.share(job, true));
    };
    if (which == 0) crew_->give(help, this);
    model_.cell.multiply(lanes_, model_.cell.share(which, false));
    crew_->collect(which);
}

// Sample `index` of the call, at vector `within` of the current frame.
void Session::sample(std::int64_t index, std::size_t within) {
    const auto rows = static_cast<std::size_t>(streams_);
    for (std::size_t s = 0; s < rows; ++s) model_.cell.inputs(bytes_[s][0], bytes_[s][1], 0, known_[s]);
    multiply(0);
    model_.cell.advance(lanes_, 0, model_.weights[within], known_);
    for (std::size_t s = 0; s < rows; ++s) {
        const int coarse = choose(2 * index, 0, s);
        model_.cell.inputs(bytes_[s][0], bytes_[s][1], coarse, known_[s]);
        bytes_[s][0] = coarse;
    }
    multiply(1);
    model_.cell.advance(lanes_, 1, model_.weights[within], known_);
    for (std::size_t s = 0; s < rows; ++s) {
        bytes_[s][1] = choose(2 * index + 1, 1, s);
        put(index, within, s);
    }
    lanes_.now = 1 - lanes_.now;
}

// Draws an element of the call (byte `which` of its sample), or takes the given one and tells its distribution.
int Session::choose(std::int64_t element, int which, std::size_t s) {
    const int stream = static_cast<int>(s);
    const std::size_t at = s * 2 * static_cast<std::size_t>(call_.samples) + static_cast<std::size_t>(element);
    if (!drawing_) {
        if (call_.logits != nullptr) model_.cell.score(lanes_, which, stream, call_.logits + at * kClasses);
        return call_.elements[at];
    }
    const float u = call_.uniforms != nullptr
                        ? call_.uniforms[at]
                        : noise_[s].uniform(call_.positions[s] + static_cast<std::uint64_t>(element));
    return model_.cell.draw(lanes_, which, stream, sharpness_, u);
}

void Session::put(std::int64_t index, std::size_t within, std::size_t s) {
    int made = 256 * bytes_[s][0] + bytes_[s][1] - 32768;
    if (carried_ != nullptr) {
        made = model_.prediction->synthesise(made, within, carried_ + s * model_.prediction->carried());
    }
    const std::size_t at = s * static_cast<std::size_t>(call_.samples) + static_cast<std::size_t>(index);
    if (call_.audio != nullptr) call_.audio[at] = static_cast<float>(made) / 32768.0f;
    if (call_.pcm != nullptr) call_.pcm[at] = static_cast<std::int16_t>(made);
}

}  // namespace seqgen
