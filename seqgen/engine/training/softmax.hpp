// The log-probability of a symbol under a softmax, and its gradient, some rows to a thread.
#pragma once

#include "seqgen_engine.h"

namespace seqgen {

// Both take arguments that are in order.
void softmax_forward(const seqgen_softmax& call);
void softmax_backward(const seqgen_softmax& call);

}  // namespace seqgen
