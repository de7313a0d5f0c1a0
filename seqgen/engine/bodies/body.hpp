// Bodies: the networks that turn conditioning vectors into samples, one class for each kind of generator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "call/helper_thread.hpp"
#include "call/sample_io.hpp"
#include "call/workspace.hpp"
#include "kernels/pack.hpp"
#include "layers/distribution.hpp"
#include "program/json.hpp"
#include "program/tensors.hpp"

namespace seqgen {

// Header of a state blob: its fixed part, which comes first.
struct StateHeader {
    std::uint32_t magic, version;
    std::uint64_t signature;     // of the program and the format: a blob fits one model only
    std::uint32_t coarse, fine;  // the newest symbols, where samples consist of some
    std::uint32_t ahead;         // conditioning vectors still to be dropped
    float previous;              // the sample before, where samples are real numbers; else 0
};

// State of one stream as its body sees it: the blob's header, of which some fields are the body's, and bytes on both
// sides of the conditioning network's state.
struct BodyState {
    StateHeader& header;
    unsigned char *before, *behind;
};
struct BodyStateBytes {
    std::size_t before, behind;  // the first a multiple of 4
};

// Traits of a body: all that the rest of the engine has to know of it.
struct BodyTraits {
    const char* codec;                     // the op that must follow, where it draws: what its samples are
    int classes = kClasses;                // of a symbol; 0 where samples are real numbers
    int symbols_per_sample = 1;            // 1 where samples are real numbers
    int num_uniforms = 1;                  // that a sample takes
    std::size_t num_params = kClasses;     // numbers that tell the distribution of a symbol or a real number
    bool feeds_back = true;                // it reads the samples that it made
    float most_value = 1;                  // of what scoring is given in place of drawn real numbers
    int lanes = 1;                         // samples of a stream made side by side
    int ahead = 0;                         // samples under way beyond those given out
    int group = 1;                         // a call makes a multiple of so many samples
    int max_streams = SEQGEN_MAX_STREAMS;  // that it takes side by side
    bool direct = false;                   // it takes all features of a call at once, as they are
    bool draws = true;                     // or it makes parameters alone, of which nothing is drawn
};

// Source of a body: an op of the program, and what the program has before it.
struct BodySource {
    const Json& op;
    const Tensors& tensors;
    seqgen_format format;
    const Kernels& kernels;
    std::optional<LogGain> gain;       // of an op before it
    std::size_t hop, latency;          // samples
    std::size_t channels;              // of a frame of features
    const std::vector<float>& vector;  // of conditioning, before the first frame
    std::string where;

    // Raise Failure(SEQGEN_FORMAT), the second where the conditioning vector has not so many numbers.
    void expect(bool right, const std::string& otherwise) const;
    void expect_channels(std::size_t channels) const;
};

// Context of a call, which a body works with; it outlives the body's own part of the call.
struct CallContext {
    const SampleIO& io;
    const HelperLease& helper;
    const float* weights;  // [hop] how far each sample lies from one frame's conditioning vector to the next
    std::size_t hop;
    int streams;  // side by side
};

// A new frame's conditioning: `vectors` of the streams, `stride` floats apart; of what is direct those of all frames, a
// stream's one behind the other.
struct Frame {
    const float* vectors;
    std::size_t stride;
    std::int64_t origin;  // sample of the call that the frame begins with; negative where samples are dropped
    std::int64_t count = 1;

    // Where in the frame its first sample that is made lies: at the hop or behind it where it makes none.
    std::int64_t first() const { return origin < 0 ? -origin : 0; }
};

// Activations and places of one call, in its workspace; each body derives its own.
struct BodyCall {
    explicit BodyCall(const CallContext& context) : context(context) {}
    BodyCall(const BodyCall&) = delete;
    BodyCall& operator=(const BodyCall&) = delete;
    virtual ~BodyCall() = default;

    const CallContext context;
};

// Makes `Call(memory, rest...)`, derived of BodyCall, in the workspace. Null where that only counts.
template <typename Call, typename... Rest>
BodyCall* place_call(Workspace& memory, Rest&&... rest) {
    void* place = memory.take(sizeof(Call));
    if (place != nullptr) return new (place) Call(memory, std::forward<Rest>(rest)...);
    const Call counted(memory, std::forward<Rest>(rest)...);
    return nullptr;
}

// Body of a model: the generator between conditioning vectors and samples. It has the weights, which never change; what
// changes is in a BodyCall and in the streams' states. A call for some streams is
//   open; load each; for every frame: enter, while (advance) draw; save each.
// Nothing of that fails, allocates or locks.
class Body {
   public:
    Body() = default;
    Body(const Body&) = delete;
    Body& operator=(const Body&) = delete;
    virtual ~Body() = default;

    virtual BodyTraits traits() const = 0;

    // Takes the op of a distribution, of which a program has one. False where that is of a kind that this body never
    // draws. Raises Failure where it does not fit.
    virtual bool draws_from(const std::string& name, const Json& op, const std::string& where) = 0;

    // Numbers of a conditioning vector.
    virtual std::size_t channels() const = 0;
    // 64-byte blocks of weights that are not zero, and bytes of what is read for every sample, or for several at a
    // time.
    virtual std::size_t weight_blocks() const = 0;
    virtual std::size_t weight_bytes() const = 0;
    // Whether a helper thread makes it faster.
    virtual bool divisible() const { return false; }

    // The state of a stream: its size, that of a fresh one (from bytes that are zero), and whether some bytes can be
    // one.
    virtual BodyStateBytes state_bytes() const = 0;
    virtual void init(const BodyState& state) const = 0;
    virtual bool fits(const StateHeader& header, const unsigned char* before) const = 0;

    // Makes its part of a call; null where `memory` only counts.
    virtual BodyCall* open(Workspace& memory, const CallContext& context) const = 0;
    // A stream's state, which stays where it is until it is saved: what is large may be changed in place.
    virtual void load(BodyCall& call, int stream, const BodyState& state) const = 0;
    virtual void save(BodyCall& call, int stream, const BodyState& state) const = 0;
    // Takes the conditioning of the next frame.
    virtual void enter(BodyCall& call, const Frame& frame) const = 0;
    // Runs the network until something can be drawn. False where the frame has no more.
    virtual bool advance(BodyCall& call) const = 0;
    // Draws that, or takes it from the caller and hands out its distribution; hands out the samples that are complete.
    virtual void draw(BodyCall& call) const = 0;
};

}  // namespace seqgen
