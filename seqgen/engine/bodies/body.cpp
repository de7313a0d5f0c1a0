#include "bodies/body.hpp"

#include "program/failure.hpp"

namespace seqgen {

void BodySource::expect(bool right, const std::string& otherwise) const {
    if (!right) throw Failure(SEQGEN_FORMAT, where + ": " + otherwise);
}

void BodySource::expect_channels(std::size_t channels) const {
    expect(vector.size() == channels, "the conditioning vector has another width than it takes");
}

}  // namespace seqgen
