// A stack of dilated, gated convolutions over whole sequences, forward and back, some rows to a thread.
#pragma once

#include "seqgen_engine.h"

namespace seqgen {

// Both take arguments that are in order.
void dilated_forward(const seqgen_dilated& call);
void dilated_backward(const seqgen_dilated& call);

}  // namespace seqgen
