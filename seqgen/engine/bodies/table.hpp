// The table of bodies: which op of a program makes which, and of which distributions they draw.
#pragma once

#include <memory>
#include <string>

#include "bodies/body.hpp"
#include "bodies/encoder.hpp"

namespace seqgen {

// Row of a body: the op that stands for it in a program, and what makes it of that.
struct BodyRow {
    const char* op;
    const char* behind;  // what must stand before it: an op of the program, a body that it wraps, or kNothing
    bool wraps;
    // Null where `inner` is no body that it wraps. Raises Failure for missing or unfitting options and tensors.
    std::unique_ptr<Body> (*make)(const BodySource& source, std::unique_ptr<Body> inner);
};

// Before a body that makes symbols, of columns or of nothing at all, and before one that draws nothing.
constexpr const char* kNothing = "nothing";

// Row of an encoder, which stands before its decoder.
struct EncoderRow {
    const char* op;
    // Raises Failure for missing or unfitting options and tensors.
    std::unique_ptr<Encoder> (*make)(const BodySource& source);
};

// Row of a distribution: its op, and the bodies behind which that may stand.
struct DistributionRow {
    const char* op;
    const char* behind;
};

// Null where no row has this op.
const BodyRow* find_body(const std::string& op);
const EncoderRow* find_encoder(const std::string& op);
const DistributionRow* find_distribution(const std::string& op);

// Names of all bodies' and encoders' ops, and of all distributions', with commas between them.
std::string known_bodies();
std::string known_distributions();

std::unique_ptr<Body> make_wavernn(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Encoder> make_bytenet_encoder(const BodySource& source);
std::unique_ptr<Body> make_bytenet(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_multiband(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_gru_stack(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_subscale(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_wavenet(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_waveform_encoder(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_parallel_wavenet(const BodySource& source, std::unique_ptr<Body> inner);

}  // namespace seqgen
