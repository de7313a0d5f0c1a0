// Failures of loading and of calls: a status and a message, thrown inside the engine and returned by the C functions.
#pragma once

#include <stdexcept>
#include <string>

#include "seqgen_engine.h"

namespace seqgen {

class Failure : public std::runtime_error {
   public:
    Failure(seqgen_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
    seqgen_status status() const noexcept { return status_; }

   private:
    seqgen_status status_;
};

}  // namespace seqgen
