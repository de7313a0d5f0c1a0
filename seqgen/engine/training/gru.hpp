// The gated recurrence over whole sequences, forward and back, some rows to a thread.
#pragma once

#include "seqgen_engine.h"

namespace seqgen {

// Both take arguments that are in order.
void gru_forward(const seqgen_gru& call);
void gru_backward(const seqgen_gru& call);

}  // namespace seqgen
