// The table of bodies: which op of a program makes which, and of which distributions they draw.
#pragma once

#include <memory>
#include <string>

#include "bodies/body.hpp"

namespace seqgen {

// Row of a body: the op that stands for it in a program, and what makes it of that.
struct BodyRow {
    const char* op;
    const char* behind;  // what must stand before it: an op of the program, or a body that it wraps
    bool wraps;
    // Null where `inner` is no body that it wraps. Raises Failure for missing or unfitting options and tensors.
    std::unique_ptr<Body> (*make)(const BodySource& source, std::unique_ptr<Body> inner);
};

// Row of a distribution: its op, and the bodies behind which that may stand.
struct DistributionRow {
    const char* op;
    const char* behind;
};

// Null where no row has this op.
const BodyRow* find_body(const std::string& op);
const DistributionRow* find_distribution(const std::string& op);

// Names of all bodies' ops, and of all distributions', with commas between them.
std::string known_bodies();
std::string known_distributions();

std::unique_ptr<Body> make_wavernn(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_subscale(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_wavenet(const BodySource& source, std::unique_ptr<Body> inner);
std::unique_ptr<Body> make_parallel_wavenet(const BodySource& source, std::unique_ptr<Body> inner);

}  // namespace seqgen
