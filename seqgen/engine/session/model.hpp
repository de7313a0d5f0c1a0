// A loaded bundle: the program's ops with their weights, and the layout of a stream's state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bodies/flows.hpp"
#include "bodies/subscale.hpp"
#include "bodies/wavenet.hpp"
#include "bodies/wavernn.hpp"
#include "call/helper_thread.hpp"
#include "layers/conditioner.hpp"
#include "layers/distribution.hpp"
#include "layers/prediction.hpp"
#include "seqgen_engine.h"

namespace seqgen {

// The fixed part at the beginning of a state blob; behind it the body's own part, the last conditioning vector and the
// conditioning network's state, float32, and the synthesis filter's 16-bit numbers. For a model with lanes see Subscale.
struct StateHeader {
    std::uint32_t magic, version;
    std::uint64_t signature;  // of the program and the format: a blob fits one model only
    std::uint32_t coarse, fine;
    std::uint32_t ahead;  // conditioning vectors still to be dropped
    float previous;       // the sample before, where samples are real numbers; else 0
};

class Model {
   public:
    static constexpr std::uint32_t kMagic = 0x54534753;  // "SGST"
    static constexpr std::uint32_t kVersion = 4;

    // Reads `directory`/program.json and the files it names. Raises Failure, std::bad_alloc.
    Model(const std::string& directory, const seqgen_load_options& options);
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    int sample_rate = 0;
    std::size_t channels = 0, hop = 0, latency = 0;
    seqgen_format format = SEQGEN_FORMAT_FLOAT32;
    const Kernels& kernels;
    Conditioner network;
    Conditioner::Value vector{0, 0};  // what the network makes for a frame
    std::vector<float> weights;   // [hop] how far each sample lies from one frame's vector to the next
    AlignedArray<float> first_vector;  // the vector before the first frame
    const Body* body = nullptr;    // one of these three
    WaveRnn cell;
    std::unique_ptr<WaveNet> stack;  // of a WaveNet
    std::unique_ptr<Flows> flows;  // that make all samples of a stretch at once
    std::vector<float> levels;     // what the symbols of one mean
    std::unique_ptr<Distribution> emission;  // of real-valued samples; null where symbols are drawn
    std::unique_ptr<Prediction> prediction;
    std::unique_ptr<Subscale> subscale;  // where lanes are made side by side
    std::uint64_t signature = 0;
    std::unique_ptr<HelperThread> team;  // of a model with two threads that is worth it

    std::size_t state_bytes() const;
    int elements() const { return stack || flows ? 1 : 2; }                  // drawn for one sample
    int draws() const { return emission ? emission->draws() : elements(); }  // uniform numbers of one sample
    bool real() const { return emission || flows; }                          // samples are no symbols
    std::size_t params() const;                                              // numbers of an element's distribution
    std::size_t weight_bytes() const { return body->bytes() + (subscale ? subscale->bytes() : 0); }
    void init_state(void* blob) const;

    // The header of a blob. Raises Failure(SEQGEN_STATE) for one that is not of this model.
    StateHeader header(const void* blob) const;

   private:
    void add(const Json& op, const Tensors& tensors, const std::string& where);
    void load_level(const Json& op, const std::string& where);
    bool load_emission(const std::string& name, const Json& op, const std::string& where);
    void load_stack(const Json& op, const Tensors& tensors, const std::string& where);
    void load_flows(const Json& op, const Tensors& tensors, const std::string& where);
    void load_noise(const Json& op, const std::string& where);
    void stand(const Body& made, std::size_t width, const std::string& where);
    void load_cell(const Json& op, const Tensors& tensors, const std::string& where);
    void load_lanes(const Json& op, const Tensors& tensors, const std::string& where);
    void interpolate(const Json& op, const Tensors& tensors, const std::string& where);
    void expect(bool right, const std::string& where, const char* what) const;

    std::uint32_t start_[2] = {128, 0};  // the bytes before the first sample
    float start_value_ = 0;              // or the real number
    std::optional<LogGain> level_;
    std::vector<float> fresh_vector_;
    bool interpolates_ = false, draws_ = false, decodes_ = false;
};

}  // namespace seqgen
