#include "session/session.hpp"

#include <algorithm>
#include <cstring>

namespace seqgen {
namespace {

SampleShape shape_of(const BodyTraits& traits) {
    return {traits.symbols_per_sample, traits.num_uniforms, traits.ahead};
}

}  // namespace

std::size_t Session::workspace(const Model& model, int streams) {
    seqgen_call call{};
    Workspace counted;
    const HelperLease nobody(nullptr);
    const Session session(model, call, false, {0, std::min(streams, model.body->traits().max_streams)}, nobody,
                          counted);
    return counted.size() + Workspace::kAlignment;
}

void Session::run(const Model& model, const seqgen_call& call, bool drawing) {
    const HelperLease helper(model.helper.get());
    const int most = model.body->traits().max_streams;
    for (int first = 0; first < call.streams; first += most) {
        Workspace memory(call.workspace);
        Session(model, call, drawing, {first, std::min(most, call.streams - first)}, helper, memory).run();
    }
}

Session::Session(const Model& model, const seqgen_call& call, bool drawing, Part part, const HelperLease& helper,
                 Workspace& memory)
    : model_(model),
      call_(call),
      part_(part),
      helper_(helper),
      skipped_(call.frames * static_cast<std::int64_t>(model.hop) - call.samples),
      synthesis_(model.prediction.get(), model.bands.get(), memory, static_cast<std::size_t>(part.streams)),
      io_(call, part.first, drawing, shape_of(model.body->traits()), synthesis_),
      scratch_(memory.floats(static_cast<std::size_t>(part.streams) * model.conditioner.scratch())),
      conditioner_state_(memory.floats(static_cast<std::size_t>(part.streams) * model.conditioner.initial().size())),
      body_(model.body->open(memory, {io_, helper, model.weights.data(), model.hop, part.streams})) {}

Session::~Session() {
    if (body_ != nullptr) body_->~BodyCall();
}

void Session::run() {
    load();
    if (model_.body->traits().direct) {
        enter_all();
        make();
    } else {
        for (std::int64_t frame = 0; frame < call_.frames; ++frame) {
            enter(frame);
            make();
        }
    }
    save();
}

void Session::make() const {
    while (model_.body->advance(*body_)) model_.body->draw(*body_);
}

void Session::enter_all() {
    if (helper_) helper_->summon();
    const std::size_t row = static_cast<std::size_t>(call_.frames) * model_.channels;
    const std::size_t first = static_cast<std::size_t>(part_.first) * row;
    model_.body->enter(*body_, {model_.channels == 0 ? nullptr : call_.features + first, row, 0, call_.frames});
}

void Session::load() {
    const std::size_t count = model_.conditioner.initial().size();
    for (std::size_t s = 0; s < static_cast<std::size_t>(part_.streams); ++s) {
        std::memcpy(&headers_[s], call_.states[part_.first + s], sizeof(StateHeader));
        const StateParts state = parts(s);
        model_.body->load(*body_, static_cast<int>(s), state.body);
        if (count > 0) std::memcpy(conditioner_state_ + s * count, state.conditioner, count * sizeof(float));
        synthesis_.load(s, state.synthesis);
    }
    // Values are padded to whole vectors.
    std::fill_n(scratch_, static_cast<std::size_t>(part_.streams) * model_.conditioner.scratch(), 0.0f);
}

void Session::save() {
    const std::size_t count = model_.conditioner.initial().size();
    for (std::size_t s = 0; s < static_cast<std::size_t>(part_.streams); ++s) {
        const StateParts state = parts(s);
        model_.body->save(*body_, static_cast<int>(s), state.body);
        if (count > 0) std::memcpy(state.conditioner, conditioner_state_ + s * count, count * sizeof(float));
        synthesis_.save(s, state.synthesis);
        StateHeader& header = headers_[s];
        header.ahead -= static_cast<std::uint32_t>(std::min<std::int64_t>(header.ahead, skipped_));
        std::memcpy(call_.states[part_.first + s], &header, sizeof header);
    }
}

// Runs the conditioner over one frame, from whose vectors the body goes on.
void Session::enter(std::int64_t frame) {
    if (helper_) helper_->summon();
    const std::size_t row = static_cast<std::size_t>(call_.frames) * model_.channels;
    const std::size_t at =
        static_cast<std::size_t>(part_.first) * row + static_cast<std::size_t>(frame) * model_.channels;
    const float* features = call_.features + at;
    model_.conditioner.run(features, row, scratch_, conditioner_state_, part_.streams);
    const std::int64_t origin = frame * static_cast<std::int64_t>(model_.hop) - skipped_;
    model_.body->enter(*body_, {scratch_ + model_.vector.offset, model_.conditioner.scratch(), origin});
    for (std::size_t s = 0; s < static_cast<std::size_t>(part_.streams); ++s) synthesis_.frame(s, features + s * row);
}

}  // namespace seqgen
