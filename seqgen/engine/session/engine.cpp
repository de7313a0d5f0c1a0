// The C interface: arguments are checked here, failures become a status and a message, nothing is thrown across.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "program/failure.hpp"
#include "seqgen_engine.h"
#include "session/guard.hpp"
#include "session/handles.hpp"
#include "session/session.hpp"

namespace seqgen {
namespace {

void check_threads(std::int32_t threads) {
    require(threads >= 0 && threads <= 2, std::to_string(threads) + " threads; give 1 or 2");
    require(threads < 2 || granted_cores() >= 2, "2 threads on a machine that grants one core; give 1");
}

void check_blob(const Model& model, const void* state, std::size_t bytes) {
    require(state != nullptr, "the state is null");
    require(bytes >= model.state_bytes(),
            "the state has " + std::to_string(bytes) + " bytes, expected " + std::to_string(model.state_bytes()));
}

void check_sizes(const Model& model, const seqgen_call& call) {
    require(call.streams >= 1 && call.streams <= SEQGEN_MAX_STREAMS,
            std::to_string(call.streams) + " streams in one call; give 1 to 16");
    const std::int64_t most = std::int64_t{1} << 32;
    require(call.frames >= 0 && call.samples >= 0, "frames and samples must not be negative");
    const auto hop = static_cast<std::int64_t>(model.hop), latency = static_cast<std::int64_t>(model.latency);
    require(call.frames <= most / hop, std::to_string(call.frames) + " frames in one call; give fewer");
    const std::int64_t made = call.frames * hop, least = std::max<std::int64_t>(0, made - latency);
    require(call.samples >= least && call.samples <= made,
            std::to_string(call.frames) + " frames do not make " + std::to_string(call.samples) + " samples; ask for " +
                std::to_string(made) + ", or " + std::to_string(least) + " at the start of a stream");
    const std::int64_t group = model.body->traits().group;
    require(call.samples % group == 0, std::to_string(call.samples) + " samples are not whole groups of " +
                                           std::to_string(group) + ", in which this model makes them");
    const std::size_t needed = Session::workspace(model, call.streams);
    require(call.workspace != nullptr && call.workspace_bytes >= needed,
            "the workspace has " + std::to_string(call.workspace_bytes) + " bytes, expected " + std::to_string(needed));
}

// Lanes have a place in their stream, so that no samples may be left out.
void check_due(const Model& model, const seqgen_call& call, std::int64_t waits) {
    if (model.body->traits().lanes == 1) return;
    const std::int64_t due = std::max<std::int64_t>(0, call.frames * static_cast<std::int64_t>(model.hop) - waits);
    require(call.samples == due, std::to_string(call.frames) + " frames make " + std::to_string(due) +
                                     " samples of this stream, not " + std::to_string(call.samples));
}

void check_states(const Model& model, const seqgen_call& call) {
    require(call.states != nullptr, "states is null");
    for (int s = 0; s < call.streams; ++s) {
        require(call.states[s] != nullptr, "the state of stream " + std::to_string(s) + " is null");
        check_due(model, call, model.header(call.states[s]).ahead);
        for (int other = 0; other < s; ++other) {
            require(call.states[s] != call.states[other], "two streams of a call share a state");
        }
    }
}

void check_features(const Model& model, const seqgen_call& call) {
    const auto count = static_cast<std::size_t>(call.streams) * static_cast<std::size_t>(call.frames) * model.channels;
    require(count == 0 || call.features != nullptr, "features is null");
    for (std::size_t i = 0; i < count; ++i) {
        require(std::isfinite(call.features[i]), "the features hold NaN or infinity");
    }
}

bool knows(const seqgen_call& call, std::size_t end) { return call.struct_size >= end; }

// Symbols that a call scores: one array or the other, and each below `classes`.
void check_symbols(const seqgen_call& call, const BodyTraits& traits) {
    const std::int64_t each = traits.symbols_per_sample * (call.samples + traits.ahead);
    const auto count = call.samples == 0 ? std::size_t{0} : static_cast<std::size_t>(call.streams * each);
    require(count == 0 || call.symbols != nullptr || (call.elements != nullptr && traits.classes <= kClasses),
            traits.classes <= kClasses ? "elements is null" : "symbols is null");
    for (std::size_t i = 0; i < count; ++i) {
        const std::int32_t symbol = call.symbols != nullptr ? call.symbols[i] : call.elements[i];
        require(symbol >= 0 && symbol < traits.classes, "symbol " + std::to_string(symbol) + " is none of the " +
                                                            std::to_string(traits.classes) + " that there are");
    }
}

// Samples that are real numbers: a caller must know of them, and give them within full scale, or the noise behind them.
void check_values(const seqgen_call& call, bool drawing, float most) {
    require(knows(call, offsetof(seqgen_call, params) + sizeof call.params),
            "samples of this model are real numbers, which the caller's seqgen_call does not know; build it anew");
    if (drawing) return;
    const auto count = static_cast<std::size_t>(call.streams) * static_cast<std::size_t>(call.samples);
    require(count == 0 || call.values != nullptr, "values is null");
    for (std::size_t i = 0; i < count; ++i) {
        require(call.values[i] >= -most && call.values[i] <= most, "values lie outside [-" +
                                                                       std::to_string(static_cast<int>(most)) + ", " +
                                                                       std::to_string(static_cast<int>(most)) + "]");
    }
}

void run(seqgen_model handle, const seqgen_call* given, bool drawing) {
    const ModelReference model(handle);
    const seqgen_call call = whole(given, "seqgen_call");
    const BodyTraits traits = model->body->traits();
    check_sizes(*model, call);
    check_states(*model, call);
    check_features(*model, call);
    require(traits.draws || !drawing, "this model draws nothing; ask for its parameters by seqgen_step");
    if (drawing) {
        require(!std::isnan(call.temperature), "the temperature is not a number");
        require(
            call.samples == 0 || call.uniforms != nullptr || (call.stream_ids != nullptr && call.positions != nullptr),
            "give uniforms, or stream_ids and positions");
    } else if (traits.classes > 0) {
        check_symbols(call, traits);
    }
    require(model->sample_rate > 0 || knows(call, offsetof(seqgen_call, drawn) + sizeof call.drawn),
            "this model makes symbols, which the caller's seqgen_call does not know; build it anew");
    if (traits.draws && traits.classes == 0) check_values(call, drawing, traits.most_value);
    Session::run(*model, call, drawing);
}

void describe(const Model& model, seqgen_model_info& info) {
    info.sample_rate = model.sample_rate;
    info.channels = static_cast<std::int32_t>(model.channels);
    info.hop = static_cast<std::int32_t>(model.hop);
    info.latency = static_cast<std::int32_t>(model.latency);
    const BodyTraits traits = model.body->traits();
    info.elements_per_sample = traits.symbols_per_sample;
    info.classes = traits.classes;
    info.format = model.format;
    tell(info.isa, sizeof info.isa, model.kernels.name);
    info.state_bytes = model.state_bytes();
    info.workspace_bytes = Session::workspace(model, SEQGEN_MAX_STREAMS);
    info.weight_bytes = model.body->weight_bytes();
    info.weight_blocks = model.body->weight_blocks();
    info.threads = model.helper ? 2 : 1;
    info.lanes = traits.lanes;
    info.ahead = traits.ahead;
    info.uniforms_per_sample = traits.num_uniforms;
    info.params = static_cast<std::int32_t>(traits.num_params);
    info.feeds_back = traits.feeds_back ? 1 : 0;
    info.source_classes = model.encoder ? model.encoder->classes() : 0;
}

constexpr std::int64_t kLongestSource = std::int64_t{1} << 24;

// Raises Failure where nothing is translated, or the source has an absurd length.
const Encoder& encoder_for(const Model& model, std::int64_t length) {
    require(model.encoder != nullptr, "this model reads no sources");
    require(length >= 0 && length <= kLongestSource,
            std::to_string(length) + " symbols of a source; give 0 to " + std::to_string(kLongestSource));
    return *model.encoder;
}

// Columns of a source before they are unfolded, in the caller's workspace.
float* folded(const Encoder& encoder, std::int64_t length, Workspace& memory) {
    return memory.floats(static_cast<std::size_t>(length) * encoder.channels());
}

std::size_t encoder_workspace(const Encoder& encoder, std::int64_t length) {
    Workspace counted;
    folded(encoder, length, counted);
    encoder.run(nullptr, length, nullptr, counted);
    return counted.size() + Workspace::kAlignment;
}

void encode(const Model& model, const seqgen_source& source) {
    const Encoder& encoder = encoder_for(model, source.length);
    const std::size_t needed = encoder_workspace(encoder, source.length);
    require(
        source.workspace != nullptr && source.workspace_bytes >= needed,
        "the workspace has " + std::to_string(source.workspace_bytes) + " bytes, expected " + std::to_string(needed));
    require(source.length == 0 || source.symbols != nullptr, "symbols is null");
    require(model.unfolding.positions(source.length) == 0 || source.columns != nullptr, "columns is null");
    for (std::int64_t i = 0; i < source.length; ++i) {
        require(source.symbols[i] >= 0 && source.symbols[i] < encoder.classes(),
                "symbol " + std::to_string(source.symbols[i]) + " is none of the " + std::to_string(encoder.classes()) +
                    " of a source");
    }
    Workspace memory(source.workspace);
    float* columns = folded(encoder, source.length, memory);
    if (source.length > 0) encoder.run(source.symbols, source.length, columns, memory);
    model.unfolding.unfold(columns, source.length, encoder.channels(), source.columns);
}

}  // namespace
}  // namespace seqgen

using seqgen::guarded;
using seqgen::require;

int32_t seqgen_abi_version(void) { return SEQGEN_ABI_VERSION; }

const char* seqgen_status_name(int32_t status) {
    static const char* const names[] = {"SEQGEN_OK",     "SEQGEN_INVALID",     "SEQGEN_IO",
                                        "SEQGEN_FORMAT", "SEQGEN_UNSUPPORTED", "SEQGEN_CLOSED",
                                        "SEQGEN_STATE",  "SEQGEN_MEMORY",      "SEQGEN_INTERNAL"};
    return status >= 0 && status <= SEQGEN_INTERNAL ? names[status] : "unknown";
}

int32_t seqgen_load(const char* directory, const seqgen_load_options* options, seqgen_model* model, char* message,
                    size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        require(directory != nullptr && model != nullptr, "directory or model is null");
        seqgen_load_options wanted{};
        if (options != nullptr) wanted = seqgen::whole(options, "seqgen_load_options");
        require(wanted.format >= SEQGEN_FORMAT_PROGRAM && wanted.format <= SEQGEN_FORMAT_INT8,
                "format is " + std::to_string(wanted.format) + "; give a seqgen_format");
        seqgen::check_threads(wanted.threads);
        *model = 0;
        *model = seqgen::open_handle(std::make_unique<seqgen::Model>(directory, wanted));
    });
}

int32_t seqgen_close(seqgen_model model, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] { seqgen::close_handle(model); });
}

int32_t seqgen_describe(seqgen_model model, seqgen_model_info* info, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        const seqgen::ModelReference borrowed(model);
        seqgen_model_info made = seqgen::whole(info, "seqgen_model_info");
        const std::size_t known = std::min(sizeof made, info->struct_size);
        seqgen::describe(*borrowed, made);
        std::memcpy(info, &made, known);
    });
}

int32_t seqgen_state_init(seqgen_model model, void* state, size_t state_bytes, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        const seqgen::ModelReference borrowed(model);
        seqgen::check_blob(*borrowed, state, state_bytes);
        borrowed->init_state(state);
    });
}

int32_t seqgen_state_samples(seqgen_model model, const void* state, size_t state_bytes, int64_t frames,
                             int64_t* samples, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        const seqgen::ModelReference borrowed(model);
        seqgen::check_blob(*borrowed, state, state_bytes);
        require(samples != nullptr, "samples is null");
        require(frames >= 0 && frames <= INT64_MAX / static_cast<int64_t>(borrowed->hop), "frames is out of range");
        const int64_t made = frames * static_cast<int64_t>(borrowed->hop);
        *samples = std::max<int64_t>(0, made - borrowed->header(state).ahead);
    });
}

int32_t seqgen_sample(seqgen_model model, const seqgen_call* call, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] { seqgen::run(model, call, true); });
}

int32_t seqgen_step(seqgen_model model, const seqgen_call* call, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] { seqgen::run(model, call, false); });
}

int32_t seqgen_source_sizes(seqgen_model model, int64_t length, int64_t* columns, size_t* workspace_bytes,
                            char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        const seqgen::ModelReference borrowed(model);
        require(columns != nullptr && workspace_bytes != nullptr, "columns or workspace_bytes is null");
        const seqgen::Encoder& encoder = seqgen::encoder_for(*borrowed, length);
        *columns = borrowed->unfolding.positions(length);
        *workspace_bytes = seqgen::encoder_workspace(encoder, length);
    });
}

int32_t seqgen_encode(seqgen_model model, const seqgen_source* source, char* message, size_t message_bytes) {
    return guarded(message, message_bytes, [&] {
        const seqgen::ModelReference borrowed(model);
        seqgen::encode(*borrowed, seqgen::whole(source, "seqgen_source"));
    });
}

void seqgen_uniforms(uint64_t seed, uint64_t stream, uint64_t start, size_t count, float* out) {
    seqgen::Philox noise(seed, stream);
    for (size_t i = 0; i < count; ++i) out[i] = noise.uniform(start + i);
}
