// One model under many threads: each has a state of its own and must get the samples or symbols that one thread alone
// gets, a translator's after each thread has read a source; then the model is closed while they sample. Run under the
// thread sanitizer by `make sanitize`, without it by the tests.
//
//     threads BUNDLE [THREADS]
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "seqgen_engine.h"

namespace {

constexpr std::int64_t kFrames = 3;
constexpr int kRounds = 10;
constexpr std::int64_t kSource = 7;
using Samples = std::vector<std::int32_t>;

void need(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "threads: %s\n", what);
    std::_Exit(1);
}

int32_t threads_of_a_call = 1;

seqgen_model opened(const char* directory) {
    char message[256];
    seqgen_model model = 0;
    seqgen_load_options options{};
    options.struct_size = sizeof options;
    options.threads = threads_of_a_call;
    need(seqgen_load(directory, &options, &model, message, sizeof message) == SEQGEN_OK, message);
    return model;
}

seqgen_model_info described(seqgen_model model) {
    seqgen_model_info info{};
    info.struct_size = sizeof info;
    need(seqgen_describe(model, &info, nullptr, 0) == SEQGEN_OK, "describe");
    return info;
}

// What conditions a call: of a translator the first columns of a source, which is read first.
std::int32_t condition(seqgen_model model, const seqgen_model_info& info, std::vector<float>& features) {
    features.assign(static_cast<std::size_t>(kFrames * info.channels), 0.25f);
    if (info.source_classes == 0) return SEQGEN_OK;
    const std::vector<std::int32_t> symbols(kSource, info.source_classes - 1);
    std::int64_t count = 0;
    std::size_t bytes = 0;
    std::int32_t status = seqgen_source_sizes(model, kSource, &count, &bytes, nullptr, 0);
    if (status != SEQGEN_OK) return status;
    need(count >= kFrames, "a source has fewer columns than a call takes");
    features.resize(static_cast<std::size_t>(count * info.channels));
    std::vector<std::uint8_t> workspace(bytes);
    const seqgen_source source{sizeof source, symbols.data(), kSource, features.data(), workspace.data(), bytes};
    status = seqgen_encode(model, &source, nullptr, 0);
    features.resize(static_cast<std::size_t>(kFrames * info.channels));
    return status;
}

// Streams on the model until it has made `rounds` calls or the model is closed; returns what all calls made.
Samples stream(seqgen_model model, const seqgen_model_info& info, std::uint64_t id, int rounds, std::atomic<int>& calls) {
    std::vector<std::uint8_t> state(info.state_bytes), workspace(info.workspace_bytes);
    std::vector<float> features;
    void* states[] = {state.data()};
    std::uint64_t position = 0;
    seqgen_call call{};
    call.struct_size = sizeof call;
    call.states = states;
    call.streams = 1;
    call.workspace = workspace.data();
    call.workspace_bytes = workspace.size();
    call.frames = kFrames;
    call.stream_ids = &id;
    call.positions = &position;
    call.temperature = 1;
    Samples made, drawn(static_cast<std::size_t>(kFrames * info.hop + info.lanes));
    std::vector<std::int16_t> pcm(drawn.size());
    const bool symbols = info.sample_rate == 0;
    call.pcm = symbols ? nullptr : pcm.data();
    call.drawn = symbols ? drawn.data() : nullptr;
    std::int32_t status = condition(model, info, features);
    call.features = features.data();
    if (status == SEQGEN_OK) status = seqgen_state_init(model, states[0], state.size(), nullptr, 0);
    for (int round = 0; status == SEQGEN_OK && round < rounds; ++round) {
        status = seqgen_state_samples(model, states[0], state.size(), kFrames, &call.samples, nullptr, 0);
        if (status == SEQGEN_OK) status = seqgen_sample(model, &call, nullptr, 0);
        if (status != SEQGEN_OK) break;
        if (!symbols) std::copy_n(pcm.begin(), call.samples, drawn.begin());
        made.insert(made.end(), drawn.begin(), drawn.begin() + call.samples);
        position += static_cast<std::uint64_t>(call.samples * info.elements_per_sample);
        calls.fetch_add(1);
        std::this_thread::yield();  // on one core the others must get their turn whatever the scheduler is
    }
    need(status == SEQGEN_OK || status == SEQGEN_CLOSED, "a call failed for another reason than a closed model");
    return made;
}

void run_all(int threads, void (*body)(int, void*), void* shared) {
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i) all.emplace_back(body, i, shared);
    for (std::thread& one : all) one.join();
}

struct Shared {
    const char* directory;
    seqgen_model model;
    seqgen_model_info info;
    std::vector<Samples> made;
    std::atomic<int> calls{0};
};

void same_samples(Shared& shared, int threads) {
    std::vector<Samples> alone;
    for (int i = 0; i < threads; ++i) {
        alone.push_back(stream(shared.model, shared.info, static_cast<std::uint64_t>(i), kRounds, shared.calls));
    }
    shared.made.resize(static_cast<std::size_t>(threads));
    run_all(
        threads,
        [](int i, void* given) {
            Shared& own = *static_cast<Shared*>(given);
            own.made[static_cast<std::size_t>(i)] =
                stream(own.model, own.info, static_cast<std::uint64_t>(i), kRounds, own.calls);
        },
        &shared);
    need(shared.made == alone, "threads side by side do not get what one alone gets");
    need(threads < 2 || alone[0] != alone[1], "two streams are the same");
}

// Each thread streams until it is told that the model is closed, which the last one does once all have begun.
void closed_under_way(Shared& shared, int threads) {
    shared.calls = 0;
    std::thread closing([&] {
        while (shared.calls.load() < threads) std::this_thread::yield();
        need(seqgen_close(shared.model, nullptr, 0) == SEQGEN_OK, "close");
        need(seqgen_close(shared.model, nullptr, 0) == SEQGEN_CLOSED, "closed twice");
    });
    run_all(
        threads,
        [](int i, void* given) {
            Shared& own = *static_cast<Shared*>(given);
            stream(own.model, own.info, static_cast<std::uint64_t>(i), 1 << 30, own.calls);
        },
        &shared);
    closing.join();
}

// Models come and go in all threads at once: slots are taken and given back.
void loaded_by_all(Shared& shared, int threads) {
    run_all(
        threads,
        [](int, void* given) {
            Shared& own = *static_cast<Shared*>(given);
            for (int round = 0; round < 4; ++round) {
                const seqgen_model model = opened(own.directory);
                need(described(model).hop == own.info.hop, "another model");
                need(seqgen_close(model, nullptr, 0) == SEQGEN_OK, "close");
            }
        },
        &shared);
}

}  // namespace

int main(int argc, char** argv) {
    need(argc > 1, "give a bundle");
    const int threads = argc > 2 ? std::atoi(argv[2]) : 4;
    threads_of_a_call = argc > 3 ? std::atoi(argv[3]) : 1;
    Shared shared;
    shared.directory = argv[1];
    shared.model = opened(argv[1]);
    shared.info = described(shared.model);
    need(shared.info.threads == threads_of_a_call, "the bundle is too small for a helper thread");
    same_samples(shared, threads);
    closed_under_way(shared, threads);
    loaded_by_all(shared, threads);
    std::puts("threads: as one");
    return 0;
}
