// Handles of loaded models: a number that is checked whenever it is used, without a lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "session/model.hpp"

namespace seqgen {

// Raises Failure(SEQGEN_MEMORY) where too many models are open.
seqgen_model open_handle(std::unique_ptr<Model> model);

// Raises Failure(SEQGEN_CLOSED) for a number that is no open model.
void close_handle(seqgen_model handle);

// The model of a handle; it stays alive as long as this object does, even when another thread closes the handle.
class ModelReference {
   public:
    // Raises Failure(SEQGEN_CLOSED) for a number that is no open model.
    explicit ModelReference(seqgen_model handle);
    ~ModelReference();
    ModelReference(const ModelReference&) = delete;
    ModelReference& operator=(const ModelReference&) = delete;
    const Model& operator*() const { return *model_; }
    const Model* operator->() const { return model_; }

   private:
    std::size_t slot_;
    const Model* model_;
};

}  // namespace seqgen
