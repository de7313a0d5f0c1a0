// Vocodes log-mel frames (raw float32) with a voice's ONNX graph, ten at a time; seqgen itself is not needed.
//
//     c++ -std=c++17 -O2 -I ORT/include onnx_vocode.cpp -L ORT/lib -lonnxruntime -o onnx_vocode
//     onnx_vocode VOICE FEATURES.f32 OUT.f32 [SEED]
//
// The sound is raw float32 in [-1, 1). Numbers that a product would read from manifest.json with a JSON library are
// found by their names here.
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

static std::string read(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

static int64_t number(const std::string &text, const std::string &name, size_t from = 0) {
    const size_t at = text.find('"' + name + "\":", from);
    return at == std::string::npos ? 0 : std::atoll(text.c_str() + text.find(':', at) + 1);
}

// Number p of a seed's stream 0, in [0, 1): Philox4x32-10. Any other source does as well.
static float uniform(uint64_t seed, uint64_t p) {
    uint32_t c[4] = {uint32_t(p >> 2), uint32_t(p >> 34), 0, uint32_t(seed >> 32)}, k[2] = {uint32_t(seed), 0};
    for (int round = 0; round < 10; ++round, k[0] += 0x9E3779B9, k[1] += 0xBB67AE85) {
        const uint64_t one = uint64_t(c[0]) * 0xD2511F53, two = uint64_t(c[2]) * 0xCD9E8D57;
        const uint32_t next[4] = {uint32_t(two >> 32) ^ c[1] ^ k[0], uint32_t(two), uint32_t(one >> 32) ^ c[3] ^ k[1],
                                  uint32_t(one)};
        std::memcpy(c, next, sizeof c);
    }
    return float(c[p & 3] >> 8) * 0x1p-24f;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const std::string voice = argv[1], manifest = read(voice + "/manifest.json"), frames = read(argv[2]);
    const std::string stored = read(voice + "/initial.safetensors");  // length of the header, header, numbers
    uint64_t seed = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 0, header;
    std::memcpy(&header, stored.data(), 8);
    const size_t spec = manifest.find("\"spec\"");
    const int64_t hop = number(manifest, "hop"), channels = number(manifest, "in_dim", spec);
    const int64_t per = number(manifest, "uniforms_per_sample"), ahead = number(manifest, "ahead");
    int64_t waiting = number(manifest, "latency", spec), position = 0;

    Ort::Env environment(ORT_LOGGING_LEVEL_ERROR);
    Ort::Session session(environment, (voice + "/loop.onnx").c_str(), Ort::SessionOptions{});
    Ort::AllocatorWithDefaultOptions allocator;
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<std::string> names, made;
    std::vector<Ort::Value> inputs(3);  // features, uniforms, temperature; the state is behind them
    for (size_t i = 0; i < session.GetInputCount(); ++i) {
        names.push_back(session.GetInputNameAllocated(i, allocator).get());
        made.push_back(session.GetOutputNameAllocated(i < 2 ? 0 : i - 2, allocator).get());
        if (i < 3) continue;
        const auto information = session.GetInputTypeInfo(i);
        const auto type = information.GetTensorTypeAndShapeInfo();
        auto shape = type.GetShape();
        shape[0] = 1;
        inputs.push_back(Ort::Value::CreateTensor(allocator, shape.data(), shape.size(), type.GetElementType()));
        const size_t entry = stored.find('"' + names[i].substr(6) + '"', 8), place = stored.find("offsets", entry);
        char *end;
        const auto first = std::strtoll(&stored[stored.find('[', place) + 1], &end, 10);
        const auto last = std::strtoll(end + 1, nullptr, 10);
        std::memcpy(inputs[i].GetTensorMutableRawData(), &stored[8 + header + first], size_t(last - first));
    }
    std::vector<const char *> in, out;
    for (const auto &name : names) in.push_back(name.c_str());
    for (size_t i = 2; i < made.size(); ++i) out.push_back(made[i].c_str());

    std::vector<float> features(frames.size() / 4), noise;
    std::memcpy(features.data(), frames.data(), features.size() * 4);
    std::ofstream sound(argv[3], std::ios::binary);
    float temperature = 1;
    const int64_t every = int64_t(features.size()) / channels;
    for (int64_t first = 0, count = waiting / hop + 10; first < every; first += count, count = 10) {
        count = std::min(count, every - first);
        const int64_t samples = count * hop - waiting, shape[] = {1, count, channels};
        noise.resize(size_t((samples + ahead) * per));
        for (size_t i = 0; i < noise.size(); ++i) noise[i] = uniform(seed, uint64_t(position * per) + i);
        const int64_t numbers[] = {1, int64_t(noise.size())};
        inputs[0] = Ort::Value::CreateTensor(memory, &features[first * channels], count * channels, shape, 3);
        inputs[1] = Ort::Value::CreateTensor(memory, noise.data(), noise.size(), numbers, 2);
        inputs[2] = Ort::Value::CreateTensor(memory, &temperature, 1, nullptr, 0);
        auto outputs = session.Run({}, in.data(), inputs.data(), in.size(), out.data(), out.size());
        sound.write(reinterpret_cast<const char *>(outputs[0].GetTensorData<float>()), samples * 4);
        std::move(outputs.begin() + 1, outputs.end(), inputs.begin() + 3);
        position += samples, waiting = 0;
    }
    return sound.good() ? 0 : 1;
}
