#include "session/subscale_session.hpp"

#include <algorithm>
#include <cstring>

namespace seqgen {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

// Points the arrays to what `take(bytes)` gives for each of them.
template <typename Take>
void SubscaleSession::Arrays::reserve(const Model& model, Take&& take) {
    const Subscale& subscale = *model.subscale;
    const LaneContext& network = subscale.context();
    const std::size_t lanes = subscale.lanes(), gates = model.cell.gates(), ring = subscale.steps() * lanes;
    const auto floats = [&](std::size_t count) { return static_cast<float*>(take(count * sizeof(float))); };
    model.cell.reserve(cell, [&](std::size_t bytes) { return take(lanes * bytes); });
    vectors = floats(subscale.frames() * gates);
    deltas = floats(subscale.frames() * gates);
    scratch = floats(model.network.scratch());
    network_state = floats(model.network.initial().size());
    network.reserve(context, floats);
    carried = floats(lanes * network.carried());
    bytes = static_cast<std::uint8_t*>(take(lanes * network.channels()));
    told = floats(lanes * gates);
    units = floats(ring);
    samples = static_cast<std::int16_t*>(take(ring * sizeof(std::int16_t)));
}

std::size_t SubscaleSession::workspace(const Model& model) {
    std::size_t sum = kAlignment;
    WaveRnnBuffers cell{};
    Arrays{cell}.reserve(model, [&](std::size_t bytes) -> void* {
        sum += aligned(bytes);
        return nullptr;
    });
    return sum;
}

SubscaleSession::SubscaleSession(const Model& model, const seqgen_call& call, bool drawing)
    : model_(model),
      subscale_(*model.subscale),
      call_(call),
      drawing_(drawing),
      lanes_(static_cast<std::int64_t>(subscale_.lanes())),
      lag_(static_cast<std::int64_t>(subscale_.lag())),
      depth_(static_cast<std::int64_t>(subscale_.depth())),
      horizon_(static_cast<std::int64_t>(subscale_.horizon())),
      ring_(subscale_.steps()),
      product_(model.cell, cell_, model.team.get()),
      sharpness_(1.0f / std::max(call.temperature, 1e-3f)) {
    auto* free = static_cast<unsigned char*>(call.workspace);
    free += (kAlignment - reinterpret_cast<std::uintptr_t>(free) % kAlignment) % kAlignment;
    arrays_.reserve(model, [&](std::size_t bytes) -> void* {
        unsigned char* taken = free;
        free += aligned(bytes);
        return taken;
    });
    std::fill_n(arrays_.scratch, model.network.scratch(), 0.0f);
}

// Calls `move(array, bytes)` for every array of a state blob, in its order.
template <typename Move>
void SubscaleSession::each_part(Move&& move) {
    const std::size_t lanes = subscale_.lanes(), gates = model_.cell.gates();
    const auto floats = [&](float* array, std::size_t count) { move(array, count * sizeof(float)); };
    move(&header_, sizeof header_);
    move(&place_, sizeof place_);
    floats(cell_.hidden[cell_.now], lanes * 2 * model_.cell.half());
    floats(arrays_.vectors, subscale_.frames() * gates);
    floats(arrays_.carried, lanes * subscale_.context().carried());
    floats(arrays_.network_state, model_.network.initial().size());
    move(arrays_.samples, ring_ * lanes * sizeof(std::int16_t));
}

void SubscaleSession::load(int stream) {
    stream_ = stream;
    cell_.now = 0;
    cell_.streams = static_cast<int>(lanes_);
    const auto* from = static_cast<const unsigned char*>(call_.states[stream]);
    each_part([&](void* array, std::size_t bytes) {
        if (bytes > 0) std::memcpy(array, from, bytes);
        from += bytes;
    });
    step_ = place_.step;
    frame_ = place_.frame;
    taken_ = place_.taken;
    origin_ = -static_cast<std::int64_t>(header_.ahead);
    restore();
    for (Philox& noise : noise_) {
        if (drawing_ && call_.uniforms == nullptr) noise = Philox(call_.seed, call_.stream_ids[stream]);
    }
}

// What follows from a state and is not in it.
void SubscaleSession::restore() {
    // WaveRnnBuffers start one after the other, in whichever of the two buffers is the one then.
    model_.cell.refresh(cell_);
    const std::size_t hidden = subscale_.lanes() * 2 * model_.cell.half();
    std::copy_n(cell_.hidden[0], hidden, cell_.hidden[1]);
    std::copy_n(cell_.bytes[0], hidden, cell_.bytes[1]);
    const std::size_t gates = model_.cell.gates(), count = subscale_.frames(), lanes = subscale_.lanes();
    for (std::size_t back = 1; back < count; ++back) {
        const std::size_t to = (frame_ + back) % count * gates, from = (frame_ + back - 1) % count * gates;
        for (std::size_t i = 0; i < gates; ++i) arrays_.deltas[to + i] = arrays_.vectors[to + i] - arrays_.vectors[from + i];
    }
    for (std::size_t at = 0; at < ring_ * lanes; at += lanes) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            arrays_.units[at + lanes - 1 - lane] = static_cast<float>(arrays_.samples[at + lane]) / subscale_.unit();
        }
    }
    const LaneContext& context = subscale_.context();
    context.clear(arrays_.context);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        context.load(arrays_.context, lane, arrays_.carried + lane * context.carried());
        for (std::size_t back = 1; back < context.taps() && lane > 0; ++back) read(lane, back);
    }
}

void SubscaleSession::save(int stream) {
    const std::int64_t made = call_.frames * static_cast<std::int64_t>(model_.hop);
    header_.ahead -= static_cast<std::uint32_t>(std::min<std::int64_t>(header_.ahead, made));
    place_.step = static_cast<std::uint32_t>(step_);
    place_.frame = static_cast<std::uint32_t>(frame_);
    place_.taken = static_cast<std::uint32_t>(taken_);
    const LaneContext& context = subscale_.context();
    for (std::size_t lane = 0; lane < subscale_.lanes(); ++lane) {
        context.save(arrays_.context, lane, arrays_.carried + lane * context.carried());
    }
    auto* to = static_cast<unsigned char*>(call_.states[stream]);
    each_part([&](const void* array, std::size_t bytes) {
        if (bytes > 0) std::memcpy(to, array, bytes);
        to += bytes;
    });
}

void SubscaleSession::run() {
    for (int stream = 0; stream < call_.streams; ++stream) {
        load(stream);
        for (std::int64_t index = 0; index < call_.frames; ++index) {
            frame(index);
            const auto hop = static_cast<std::int64_t>(model_.hop);
            const std::int64_t waited = std::max<std::int64_t>(0, -origin_);
            if (waited < hop) steps(waited);
            origin_ += hop;
        }
        save(stream);
    }
}

// Runs the conditioning network over one frame; its vector takes the place of the oldest one.
void SubscaleSession::frame(std::int64_t index) {
    product_.summon();
    const std::size_t gates = model_.cell.gates(), count = subscale_.frames();
    const std::size_t at = static_cast<std::size_t>(stream_ * call_.frames + index) * model_.channels;
    model_.network.run(call_.features + at, model_.channels, arrays_.scratch, arrays_.network_state, 1);
    float *vector = arrays_.vectors + frame_ * gates, *delta = arrays_.deltas + frame_ * gates;
    const float* before = arrays_.vectors + (frame_ + count - 1) % count * gates;
    subscale_.arrange(arrays_.scratch + model_.vector.offset, vector);
    for (std::size_t i = 0; i < gates; ++i) delta[i] = vector[i] - before[i];
    frame_ = (frame_ + 1) % count;
}

// The steps that a frame makes possible, of which `waited` samples were dropped; `along` counts the samples of complete
// lane steps from the frame's beginning on, and those of a fresh stream before.
void SubscaleSession::steps(std::int64_t waited) {
    const std::int64_t before = taken_ > 0 ? 0 : lanes_ * (depth_ + horizon_);
    for (std::int64_t along = waited - before; along < static_cast<std::int64_t>(model_.hop); along += lanes_) step(along);
}

// WaveRnnBuffers that begin within so many steps of lane 0.
int SubscaleSession::started(std::int64_t steps) const {
    return steps < 0 ? 0 : static_cast<int>(std::min(lanes_, steps / lag_ + 1));
}

void SubscaleSession::step(std::int64_t along) {
    const int rows = started(taken_);
    std::size_t counts[SEQGEN_MAX_STREAMS];
    for (int lane = 0; lane < rows; ++lane) {
        counts[lane] = static_cast<std::size_t>(taken_ - lane * lag_);
        if (lane > 0) read(static_cast<std::size_t>(lane), 0);
    }
    subscale_.context().step(arrays_.context, counts, rows);
    if (taken_ >= horizon_) make(along, started(taken_ - horizon_));
    if (taken_ >= depth_ + horizon_) put(origin_ + along);
    taken_ = std::min(static_cast<std::int64_t>(subscale_.settled()), taken_ + 1);
    step_ = step_ + 1 == ring_ ? 0 : step_ + 1;
}

// A lane reads, `horizon` lane steps ahead of itself, what the lanes before have made; or what it read some steps back.
void SubscaleSession::read(std::size_t lane, std::size_t back) {
    const float* units = arrays_.units + behind(1 + subscale_.lag() * (lane - 1) + back) * subscale_.lanes();
    std::copy_n(units + subscale_.lanes() - lane, lane, subscale_.context().row(arrays_.context, lane, back));
}

// Where each lane's sample lies between two frames: `back` samples before the one that the frame begins with.
void SubscaleSession::condition(std::int64_t along, int rows) {
    const auto hop = static_cast<std::int64_t>(model_.hop), count = static_cast<std::int64_t>(subscale_.frames());
    const std::size_t gates = model_.cell.gates();
    for (int lane = 0; lane < rows; ++lane) {
        const std::int64_t vector = along - static_cast<std::int64_t>(subscale_.fill()) - lane * (lanes_ * lag_ - 1);
        const std::int64_t back = vector < 0 ? (hop - 1 - vector) / hop : 0;
        const auto at = static_cast<std::size_t>((static_cast<std::int64_t>(frame_) - 1 - back + 2 * count) % count);
        const std::size_t before = at == 0 ? subscale_.frames() - 1 : at - 1;
        cell_.told[lane] = {arrays_.vectors + before * gates, arrays_.deltas + at * gates,
                            model_.weights[static_cast<std::size_t>(vector + back * hop)],
                            arrays_.told + static_cast<std::size_t>(lane) * gates, scales_[lane]};
    }
}

// A sample of each of the first lanes.
void SubscaleSession::make(std::int64_t along, int rows) {
    cell_.streams = rows;
    product_.multiply(0);
    subscale_.tell(arrays_.context.residual, arrays_.bytes, {arrays_.told, model_.cell.gates()}, scales_, rows);
    condition(along, rows);
    // The noise of what lane 0 makes now lies D lane steps beyond what is given out.
    const auto element = [&](int lane, int which) {
        return 2 * (origin_ + along + lanes_ * (depth_ - lag_ * lane) + lane) + which;
    };
    for (int lane = 0; lane < rows; ++lane) {
        model_.cell.inputs(place_.bytes[lane][0], place_.bytes[lane][1], 0, known_[lane]);
    }
    model_.cell.advance(cell_, 0, known_);
    for (int lane = 0; lane < rows; ++lane) {
        const int coarse = choose(element(lane, 0), 0, lane);
        model_.cell.inputs(place_.bytes[lane][0], place_.bytes[lane][1], coarse, known_[lane]);
        place_.bytes[lane][0] = static_cast<std::uint8_t>(coarse);
    }
    product_.multiply(1);
    model_.cell.advance(cell_, 1, known_);
    for (int lane = 0; lane < rows; ++lane) {
        place_.bytes[lane][1] = static_cast<std::uint8_t>(choose(element(lane, 1), 1, lane));
        enter(static_cast<std::size_t>(lane));
    }
    cell_.now = 1 - cell_.now;
}

// Draws an element of the stream, or takes the given one and tells its distribution.
int SubscaleSession::choose(std::int64_t element, int which, int lane) {
    const std::int64_t each = 2 * (call_.samples + lanes_ * depth_);
    const auto at = static_cast<std::size_t>(stream_ * each + element);
    if (!drawing_) {
        if (call_.logits != nullptr) model_.cell.score(cell_, which, lane, call_.logits + at * kClasses);
        return call_.elements[at];
    }
    const float u = call_.uniforms != nullptr
                        ? call_.uniforms[at]
                        : noise_[lane].uniform(call_.positions[stream_] + static_cast<std::uint64_t>(element));
    return model_.cell.draw(cell_, which, lane, sharpness_, u);
}

// The newest sample of a lane takes its place in the rings.
void SubscaleSession::enter(std::size_t lane) {
    const int sample = 256 * place_.bytes[lane][0] + place_.bytes[lane][1] - 32768;
    const std::size_t row = behind(subscale_.lag() * lane) * subscale_.lanes();
    arrays_.samples[row + lane] = static_cast<std::int16_t>(sample);
    arrays_.units[row + subscale_.lanes() - 1 - lane] = static_cast<float>(sample) / subscale_.unit();
}

// The samples from `index` of the call on, of the lane step that the last lane has completed.
void SubscaleSession::put(std::int64_t index) {
    const auto at = static_cast<std::size_t>(stream_ * call_.samples + index);
    const std::int16_t* samples = arrays_.samples + behind(subscale_.depth()) * subscale_.lanes();
    if (call_.pcm != nullptr) std::copy_n(samples, subscale_.lanes(), call_.pcm + at);
    if (call_.audio == nullptr) return;
    for (std::size_t lane = 0; lane < subscale_.lanes(); ++lane) {
        call_.audio[at + lane] = static_cast<float>(samples[lane]) / 32768.0f;
    }
}

}  // namespace seqgen
