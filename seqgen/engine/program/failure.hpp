// How the inside of the engine reports what went wrong; the C functions turn it into a status and a message.
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
