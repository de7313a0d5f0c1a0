// A loaded bundle: the program's ops with their weights, and the layout of a stream's state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bodies/body.hpp"
#include "bodies/table.hpp"
#include "call/helper_thread.hpp"
#include "layers/bands.hpp"
#include "layers/conditioner.hpp"
#include "layers/prediction.hpp"
#include "layers/unfolding.hpp"
#include "seqgen_engine.h"

namespace seqgen {

// One stream's state blob behind its header: the body's first part, the conditioner's state, the body's second part,
// the synthesis filters' numbers, those of bands before those of 16 bits.
struct StateParts {
    BodyState body;
    unsigned char *conditioner, *synthesis;
};

class Model {
   public:
    static constexpr std::uint32_t kMagic = 0x54534753;  // "SGST"
    static constexpr std::uint32_t kVersion = 5;

    // Reads `directory`/program.json and the files it names. Raises Failure, std::bad_alloc.
    Model(const std::string& directory, const seqgen_load_options& options);
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    int sample_rate = 0;
    std::size_t channels = 0, hop = 0, latency = 0;
    seqgen_format format = SEQGEN_FORMAT_FLOAT32;
    const Kernels& kernels;
    Conditioner conditioner;
    Conditioner::Value vector{0, 0};   // what the conditioner makes for a frame
    std::vector<float> weights;        // [hop] how far each sample lies from one frame's vector to the next
    std::unique_ptr<Encoder> encoder;  // of a translator
    Unfolding unfolding;               // of its columns
    std::unique_ptr<Body> body;
    std::unique_ptr<Bands> bands;
    std::unique_ptr<Prediction> prediction;
    std::uint64_t signature = 0;
    std::unique_ptr<HelperThread> helper;  // of a model with two threads that is worth it

    std::size_t state_bytes() const;
    void init_state(void* blob) const;
    StateParts parts(StateHeader& header, unsigned char* blob) const;

    // The header of a blob. Raises Failure(SEQGEN_STATE) for one that is not of this model.
    StateHeader header(const void* blob) const;

   private:
    void add(const Json& op, const Tensors& tensors, const std::string& where);
    void load_encoder(const EncoderRow& row, const Json& op, const Tensors& tensors, const std::string& where);
    void load_body(const BodyRow& row, const Json& op, const Tensors& tensors, const std::string& where);
    void load_distribution(const DistributionRow& row, const Json& op, const std::string& where);
    BodySource source(const Json& op, const Tensors& tensors, const std::string& where) const;
    void interpolate(const Json& op, const Tensors& tensors, const std::string& where);
    std::size_t synthesis_bytes() const;

    std::optional<LogGain> gain_;
    std::vector<float> first_vector_;  // of conditioning, before the first frame
    bool speaks_ = true;               // it makes audio, not symbols
    bool interpolates_ = false, draws_ = false, decodes_ = false;
};

}  // namespace seqgen
