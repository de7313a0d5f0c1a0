// Fuzzing entry of the loader: whatever two files hold, they load and run, or are refused with a sentence.
//
// An input is one byte of choices, the length of program.json in two bytes (low first), program.json and, to the end,
// weights.safetensors. Built by tools/fuzz_engine.sh; driver.cpp stands in where libFuzzer is not to be had.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "seqgen_engine.h"

namespace {

constexpr std::size_t kHead = 3;
constexpr std::int64_t kFrames = 2;
// What is loaded is also run where that takes no longer than loading it.
constexpr std::size_t kMostBytes = std::size_t{1} << 22;
constexpr std::int64_t kMostSamples = 512;
constexpr int kStreams = 2;

// A folder in memory where there is one, with the two files; both go at the end of the process.
class Folder {
   public:
    Folder() {
        const char* place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        path_ = std::string(place) + "/seqgen-fuzz-XXXXXX";
        if (mkdtemp(path_.data()) == nullptr) abort();
    }
    ~Folder() {
        for (const char* name : {"program.json", "weights.safetensors"}) unlink((path_ + "/" + name).c_str());
        rmdir(path_.c_str());
    }
    const char* path() const { return path_.c_str(); }
    void write(const char* name, const std::uint8_t* data, std::size_t size) const {
        std::FILE* file = std::fopen((path_ + "/" + name).c_str(), "wb");
        if (file == nullptr) abort();
        if (size != 0 && std::fwrite(data, 1, size, file) != size) abort();
        if (std::fclose(file) != 0) abort();
    }

   private:
    std::string path_;
};

char message[256];

// A failure must have a name and a sentence, and may not be the engine's own mistake.
bool good(std::int32_t status) {
    if (status == SEQGEN_OK) return true;
    if (status == SEQGEN_INTERNAL || message[0] == 0 || std::strcmp(seqgen_status_name(status), "unknown") == 0) abort();
    return false;
}

// Two streams of a model under way.
struct Streams {
    std::vector<std::uint8_t> blobs[kStreams], workspace;
    void* states[kStreams];
};

// What lies behind the header may be anything, but for the place in the rings that a stream with lanes has.
std::size_t noise_from(const seqgen_model_info& info) { return info.lanes > 1 ? 80 : 40; }

// Arrays of the very sizes that the header asks for, so that a sanitizer sees what is read or written beyond.
// A state of noise may be refused, as what flows carry and where a context stands must make sense.
void sample(seqgen_model model, const seqgen_model_info& info, Streams& streams, std::int64_t frames, bool drawing,
            bool noise) {
    std::int64_t samples = frames * info.hop;
    if (info.lanes > 1 && !good(seqgen_state_samples(model, streams.states[0], info.state_bytes, frames, &samples,
                                                     message, sizeof message))) {
        abort();
    }
    const auto given = static_cast<std::size_t>(2 * kStreams * (samples + info.ahead));
    const std::vector<float> features(static_cast<std::size_t>(kStreams * frames * info.channels), 0.5f);
    const std::vector<float> uniforms(given, 0.75f);
    const int symbol = std::min(200, std::max(info.classes, 1) - 1);
    const std::vector<std::uint8_t> elements(given, static_cast<std::uint8_t>(symbol));
    const std::vector<std::int32_t> symbols(given, symbol);
    std::vector<std::int32_t> drawn(given);
    std::vector<std::int16_t> pcm(static_cast<std::size_t>(kStreams * samples));
    std::vector<float> logits(drawing ? 0 : given * static_cast<std::size_t>(std::max(info.classes, 0)));
    const std::vector<float> values(pcm.size(), 0.25f);
    std::vector<float> params(drawing ? 0 : values.size() * static_cast<std::size_t>(info.params));
    seqgen_call call{};
    call.struct_size = sizeof call;
    call.states = streams.states;
    call.streams = kStreams;
    call.workspace = streams.workspace.data();
    call.workspace_bytes = streams.workspace.size();
    call.features = features.data();
    call.frames = frames;
    call.samples = samples;
    call.uniforms = uniforms.data();
    call.temperature = 1;
    call.pcm = pcm.data();
    call.elements = elements.data();
    call.logits = logits.data();
    call.values = values.data();
    call.params = params.data();
    call.symbols = info.classes > 256 ? symbols.data() : nullptr;
    call.drawn = drawn.data();
    const std::int32_t status = (drawing ? seqgen_sample : seqgen_step)(model, &call, message, sizeof message);
    if (!good(status) && !(noise && status == SEQGEN_STATE)) abort();
}

// A source is read, its columns going where they just fit.
void encode(seqgen_model model, const seqgen_model_info& info) {
    const std::vector<std::int32_t> symbols(5, info.source_classes - 1);
    std::int64_t count = 0;
    std::size_t bytes = 0;
    if (!good(seqgen_source_sizes(model, 5, &count, &bytes, message, sizeof message))) abort();
    if (bytes > kMostBytes || count > kMostSamples) return;
    std::vector<std::uint8_t> workspace(bytes);
    std::vector<float> columns(static_cast<std::size_t>(count) * static_cast<std::size_t>(info.channels));
    const seqgen_source source{sizeof source, symbols.data(), 5, columns.data(), workspace.data(), bytes};
    if (!good(seqgen_encode(model, &source, message, sizeof message))) abort();
}

void run(seqgen_model model, const seqgen_model_info& info, bool noise) {
    // Lanes make nothing before all that they wait for is there.
    const std::int64_t frames = kFrames + (info.lanes > 1 ? info.latency / info.hop : 0);
    if (std::max(info.state_bytes, info.workspace_bytes) > kMostBytes || frames * info.hop > kMostSamples) return;
    Streams streams;
    streams.workspace.resize(info.workspace_bytes);
    for (int s = 0; s < kStreams; ++s) {
        streams.blobs[s].resize(info.state_bytes);
        streams.states[s] = streams.blobs[s].data();
        if (!good(seqgen_state_init(model, streams.states[s], info.state_bytes, message, sizeof message))) abort();
        for (std::size_t i = noise_from(info); noise && i < info.state_bytes; ++i) {
            streams.blobs[s][i] = static_cast<std::uint8_t>(i * 167);
        }
    }
    for (const bool drawing : {true, false}) sample(model, info, streams, frames, drawing, noise);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Folder folder;
    if (size < kHead) return 0;
    const std::size_t program = std::min(size - kHead, data[1] + std::size_t{256} * data[2]);
    folder.write("program.json", data + kHead, program);
    folder.write("weights.safetensors", data + kHead + program, size - kHead - program);
    seqgen_load_options options{sizeof options, data[0] & 3, (data[0] & 4) != 0 ? "generic" : nullptr};
    seqgen_model model = 0;
    if (!good(seqgen_load(folder.path(), &options, &model, message, sizeof message))) return 0;
    seqgen_model_info info{};
    info.struct_size = sizeof info;
    if (!good(seqgen_describe(model, &info, message, sizeof message))) abort();
    run(model, info, (data[0] & 8) != 0);
    if (info.source_classes > 0) encode(model, info);
    if (!good(seqgen_close(model, message, sizeof message))) abort();
    return 0;
}
