#include "session/session.hpp"

#include <algorithm>
#include <cmath>
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

// Points the arrays to what `take(bytes)` gives for each of them.
template <typename Take>
void Arrays::reserve(const Model& model, std::size_t rows, Take&& take) {
    const auto floats = [&](std::size_t count) { return static_cast<float*>(take(rows * count * sizeof(float))); };
    const auto each = [&](std::size_t bytes) { return take(rows * bytes); };
    if (model.flows) {
        pass.reserve(take);
    } else if (model.stack) {
        model.stack->reserve(stack, each);
        model.stack->reserve_far(stack, take);
    } else {
        model.cell.reserve(cell, each);
    }
    const std::size_t given = model.body->given(), sets = model.flows ? 2 : 1;
    from = floats(sets * given);
    delta = floats(sets * given);
    vector = floats(given);
    scratch = floats(model.network.scratch());
    network_state = floats(model.network.initial().size());
    if (!model.prediction) return;
    carried = static_cast<std::int16_t*>(take(rows * model.prediction->carried() * sizeof(std::int16_t)));
    power = static_cast<double*>(take(model.prediction->scratch() * sizeof(double)));
}

std::size_t Session::workspace(const Model& model, int streams) {
    std::size_t sum = kAlignment;
    WaveRnnBuffers cell{};
    WaveNetBuffers stack{};
    FlowPass pass(model.flows.get(), nullptr, nullptr, nullptr);
    Arrays{cell, stack, pass}.reserve(model, static_cast<std::size_t>(streams), [&](std::size_t bytes) -> void* {
        sum += aligned(bytes);
        return nullptr;
    });
    return sum;
}

Session::Session(const Model& model, const seqgen_call& call, bool drawing)
    : model_(model),
      call_(call),
      drawing_(drawing),
      streams_(call.streams),
      skipped_(call.frames * static_cast<std::int64_t>(model.hop) - call.samples),
      product_(model.cell, cell_, model.flows ? nullptr : model.team.get()),
      pass_(model.flows.get(), model.flows ? model.team.get() : nullptr,
            [](void* session, const FlowBlock& block) { static_cast<Session*>(session)->leave(block); }, this) {
    const auto rows = static_cast<std::size_t>(streams_);
    unsigned char* free = aligned(call.workspace);
    arrays_.reserve(model, rows, [&](std::size_t bytes) -> void* {
        unsigned char* taken = free;
        free += aligned(bytes);
        return taken;
    });
    cell_.streams = stack_.streams = streams_;
    stack_.from = arrays_.from;
    stack_.delta = arrays_.delta;
    stack_.times = 1;
    cell_.now = 0;
    sharpness_ = 1.0f / std::max(call.temperature, 1e-3f);
    std::fill_n(arrays_.scratch, rows * model.network.scratch(), 0.0f);
    for (std::size_t s = 0; s < rows; ++s) {
        const std::size_t at = s * model.body->given();
        if (model.body == &model.cell) cell_.told[s] = {arrays_.from + at, arrays_.delta + at, 0.0f, nullptr, 0.0f};
        if (drawing && call.uniforms == nullptr) noise_[s] = Philox(call.seed, call.stream_ids[s]);
    }
}

// The rings of a stack stay where they are, in the caller's blob.
void Session::load() {
    const std::size_t half = model_.cell.half(), given = model_.body->given(), net = model_.network.initial().size();
    for (std::size_t s = 0; s < static_cast<std::size_t>(streams_); ++s) {
        auto* blob = static_cast<unsigned char*>(call_.states[s]);
        std::memcpy(&headers_[s], blob, sizeof(StateHeader));
        unsigned char* body = blob + sizeof(StateHeader);
        if (model_.stack) {
            model_.stack->load(stack_, static_cast<int>(s), body);
            stack_.previous[s] = headers_[s].previous;
        } else if (!model_.flows) {
            std::memcpy(cell_.hidden[cell_.now] + s * 2 * half, body, model_.body->state_bytes());
        }
        const unsigned char* from = body + model_.body->state_bytes();
        get(from, arrays_.vector + s * given, given * sizeof(float));
        if (net > 0) get(from, arrays_.network_state + s * net, net * sizeof(float));
        if (arrays_.carried != nullptr) {
            const std::size_t count = model_.prediction->carried();
            get(from, arrays_.carried + s * count, count * sizeof(std::int16_t));
        }
        bytes_[s][0] = static_cast<int>(headers_[s].coarse);
        bytes_[s][1] = static_cast<int>(headers_[s].fine);
    }
    if (model_.body == &model_.cell) model_.cell.refresh(cell_);
}

void Session::save() {
    const std::size_t half = model_.cell.half(), given = model_.body->given(), net = model_.network.initial().size();
    for (std::size_t s = 0; s < static_cast<std::size_t>(streams_); ++s) {
        StateHeader& header = headers_[s];
        header.coarse = static_cast<std::uint32_t>(bytes_[s][0]);
        header.fine = static_cast<std::uint32_t>(bytes_[s][1]);
        header.ahead -= static_cast<std::uint32_t>(std::min<std::int64_t>(header.ahead, skipped_));
        auto* blob = static_cast<unsigned char*>(call_.states[s]);
        unsigned char* body = blob + sizeof header;
        if (model_.stack) {
            header.previous = stack_.previous[s];
            model_.stack->save(stack_, static_cast<int>(s), body);
        } else if (!model_.flows) {
            std::memcpy(body, cell_.hidden[cell_.now] + s * 2 * half, model_.body->state_bytes());
        }
        std::memcpy(blob, &header, sizeof header);
        unsigned char* to = body + model_.body->state_bytes();
        append(to, arrays_.vector + s * given, given * sizeof(float));
        if (net > 0) append(to, arrays_.network_state + s * net, net * sizeof(float));
        if (arrays_.carried != nullptr) {
            const std::size_t count = model_.prediction->carried();
            append(to, arrays_.carried + s * count, count * sizeof(std::int16_t));
        }
    }
}

void Session::run() {
    load();
    for (std::int64_t index = 0; index < call_.frames; ++index) {
        frame(index);
        if (model_.flows) {
            blocks(index);
            continue;
        }
        const auto hop = static_cast<std::int64_t>(model_.hop);
        for (std::int64_t within = std::max<std::int64_t>(0, skipped_ - index * hop); within < hop; ++within) {
            sample(index * hop + within - skipped_, static_cast<std::size_t>(within));
        }
    }
    if (model_.flows) pass_.finish();
    save();
}

// Runs the conditioning network over one frame and sets out for its vector from the one before.
void Session::frame(std::int64_t index) {
    product_.summon();
    stack_.begun = true;
    const std::size_t given = model_.body->given(), width = model_.network.scratch(), set = vectors(index);
    const std::size_t row = static_cast<std::size_t>(call_.frames) * model_.channels;
    const float* features = call_.features + static_cast<std::size_t>(index) * model_.channels;
    model_.network.run(features, row, arrays_.scratch, arrays_.network_state, streams_);
    for (std::size_t s = 0; s < static_cast<std::size_t>(streams_); ++s) {
        float *from = arrays_.from + set + s * given, *delta = arrays_.delta + set + s * given;
        float* vector = arrays_.vector + s * given;
        std::copy_n(vector, given, from);
        model_.body->arrange(arrays_.scratch + s * width + model_.vector.offset, vector);
        for (std::size_t i = 0; i < given; ++i) delta[i] = vector[i] - from[i];
        if (arrays_.carried != nullptr) {
            model_.prediction->frame(features + s * row, arrays_.carried + s * model_.prediction->carried(),
                                     arrays_.power);
        }
    }
}

// Sample `index` of the call, at vector `within` of the current frame.
void Session::sample(std::int64_t index, std::size_t within) {
    const auto rows = static_cast<std::size_t>(streams_);
    if (model_.stack) {
        stack_.weights = model_.weights.data() + within;
        stack_.samples_left = call_.samples - index;
        model_.stack->advance(stack_, bytes_);
        for (std::size_t s = 0; s < rows; ++s) {
            if (model_.emission) {
                real(index, s);
                continue;
            }
            bytes_[s][0] = choose(index, 0, s);
            put(index, within, s);
        }
        return;
    }
    for (std::size_t s = 0; s < rows; ++s) {
        cell_.told[s].weight = model_.weights[within];
        model_.cell.inputs(bytes_[s][0], bytes_[s][1], 0, known_[s]);
    }
    product_.multiply(0);
    model_.cell.advance(cell_, 0, known_);
    for (std::size_t s = 0; s < rows; ++s) {
        const int coarse = choose(2 * index, 0, s);
        model_.cell.inputs(bytes_[s][0], bytes_[s][1], coarse, known_[s]);
        bytes_[s][0] = coarse;
    }
    product_.multiply(1);
    model_.cell.advance(cell_, 1, known_);
    for (std::size_t s = 0; s < rows; ++s) {
        bytes_[s][1] = choose(2 * index + 1, 1, s);
        put(index, within, s);
    }
    cell_.now = 1 - cell_.now;
}

// Draws an element of the call (byte `which` of its sample), or takes the given one and tells its distribution.
int Session::choose(std::int64_t element, int which, std::size_t s) {
    const int stream = static_cast<int>(s);
    const std::size_t row = s * static_cast<std::size_t>(model_.elements()) * static_cast<std::size_t>(call_.samples);
    const std::size_t at = row + static_cast<std::size_t>(element);
    if (!drawing_) {
        if (call_.logits != nullptr) {
            float* logits = call_.logits + at * kClasses;
            model_.stack ? model_.stack->score(stack_, stream, logits)
                         : model_.cell.score(cell_, which, stream, logits);
        }
        return call_.elements[at];
    }
    const float u = call_.uniforms != nullptr
                        ? call_.uniforms[at]
                        : noise_[s].uniform(call_.positions[s] + static_cast<std::uint64_t>(element));
    return model_.stack ? model_.stack->draw(stack_, stream, sharpness_, u)
                        : model_.cell.draw(cell_, which, stream, sharpness_, u);
}

void Session::put(std::int64_t index, std::size_t within, std::size_t s) {
    const std::size_t at = s * static_cast<std::size_t>(call_.samples) + static_cast<std::size_t>(index);
    if (model_.stack) {
        const float level = model_.levels[static_cast<std::size_t>(bytes_[s][0])];
        if (call_.audio != nullptr) call_.audio[at] = level;
        if (call_.pcm != nullptr) call_.pcm[at] = pcm16(level);
        return;
    }
    int made = 256 * bytes_[s][0] + bytes_[s][1] - 32768;
    if (arrays_.carried != nullptr) {
        made = model_.prediction->synthesise(made, within, arrays_.carried + s * model_.prediction->carried());
    }
    if (call_.audio != nullptr) call_.audio[at] = static_cast<float>(made) / 32768.0f;
    if (call_.pcm != nullptr) call_.pcm[at] = static_cast<std::int16_t>(made);
}

}  // namespace seqgen
