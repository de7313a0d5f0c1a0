/* Vectors of a recording by an encoder of raw audio: float32 samples on standard input, at the rate that the bundle's manifest
 * tells; on standard output the vectors of one frame after the other, float32, of all layers side by side.
 *
 *     encode MODEL < SAMPLES > VECTORS
 *
 * Frames are encoded as they come, in blocks, from one state: a stream's vectors are a recording's, bit by bit. What is left
 * behind the last whole frame is not encoded. Standard error tells how many frames there were, and which kernels ran.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "seqgen_engine.h"

enum { BLOCK = 16 };

static char message[256];

static void need(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "encode: %s\n", what);
    exit(1);
}

static void *room(size_t bytes) {
    void *made = malloc(bytes > 0 ? bytes : 1);
    need(made != NULL, "out of memory");
    return made;
}

int main(int argc, char **argv) {
    need(argc == 2, "usage: encode MODEL < SAMPLES > VECTORS");
    seqgen_model model = 0;
    need(!seqgen_load(argv[1], NULL, &model, message, sizeof message), message);
    seqgen_model_info info = {.struct_size = sizeof info};
    need(!seqgen_describe(model, &info, message, sizeof message), message);
    need(info.sample_rate == 0 && info.classes == 0 && info.params > 0, "this is no encoder of audio");

    void *state = room(info.state_bytes);
    need(!seqgen_state_init(model, state, info.state_bytes, message, sizeof message), message);
    const size_t hop = (size_t)info.channels, width = (size_t)info.params;
    float *samples = room(sizeof *samples * BLOCK * hop), *vectors = room(sizeof *vectors * BLOCK * width);
    seqgen_call call = {.struct_size = sizeof call, .states = &state, .streams = 1};
    call.workspace_bytes = info.workspace_bytes;
    call.workspace = room(info.workspace_bytes);
    call.features = samples;
    call.params = vectors;

    long long frames = 0;
    for (size_t count; (count = fread(samples, sizeof *samples, BLOCK * hop, stdin) / hop) > 0; frames += (long long)count) {
        call.frames = call.samples = (int64_t)count;
        need(!seqgen_step(model, &call, message, sizeof message), message);
        need(fwrite(vectors, sizeof *vectors * width, count, stdout) == count, "standard output cannot be written");
    }
    fprintf(stderr, "encode: %lld frames of %zu samples, %zu numbers each; %s kernels\n", frames, hop, width, info.isa);
    need(!seqgen_close(model, message, sizeof message), message);
    free(state), free(samples), free(vectors), free(call.workspace);
    return 0;
}
