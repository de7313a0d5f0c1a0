/* Goes on with a text: bytes of a prompt on standard input, the bytes that a language model over bytes draws after them on
 * standard output. Of a translator what it reads is the source, which is read whole.
 *
 *     complete MODEL COUNT [SEED [TEMPERATURE]] < PROMPT
 *
 * Symbols are 32-bit numbers; what they stand for says the bundle's tokenizer.json. Here each is a byte. Standard error
 * tells the prompt's bits per byte, and which kernels ran.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "seqgen_engine.h"

enum { BLOCK = 64 };

static char message[256];

static void need(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "complete: %s\n", what);
    exit(1);
}

static void *room(size_t bytes) {
    void *made = malloc(bytes > 0 ? bytes : 1);
    need(made != NULL, "out of memory");
    return made;
}

/* Bits that the model would take for a symbol. */
static double bits(const float *logits, int classes, int symbol) {
    double most = logits[0], sum = 0;
    for (int k = 1; k < classes; ++k) most = logits[k] > most ? logits[k] : most;
    for (int k = 0; k < classes; ++k) sum += exp(logits[k] - most);
    return (log(sum) + most - logits[symbol]) / log(2.0);
}

/* Columns of the source on standard input, with zeros behind them, where `most` positions are drawn at most. */
static float *source_columns(seqgen_model model, int channels, long long most) {
    int32_t *symbols = NULL;
    size_t length = 0;
    for (int byte; (byte = getchar()) != EOF; symbols[length++] = byte) {
        if ((length & (length - 1)) == 0) symbols = realloc(symbols, sizeof *symbols * (length > 0 ? 2 * length : 1));
        need(symbols != NULL, "out of memory");
    }
    int64_t count = 0;
    size_t bytes = 0;
    need(!seqgen_source_sizes(model, (int64_t)length, &count, &bytes, message, sizeof message), message);
    const size_t floats = (size_t)(count > most ? count : most) * (size_t)channels;
    float *columns = room(sizeof *columns * floats);
    memset(columns, 0, sizeof *columns * floats);
    const seqgen_source source = {sizeof source, symbols, (int64_t)length, columns, room(bytes), bytes};
    need(!seqgen_encode(model, &source, message, sizeof message), message);
    free(source.workspace), free(symbols);
    return columns;
}

int main(int argc, char **argv) {
    need(argc >= 3, "usage: complete MODEL COUNT [SEED [TEMPERATURE]] < PROMPT");
    seqgen_model model = 0;
    need(!seqgen_load(argv[1], NULL, &model, message, sizeof message), message);
    seqgen_model_info info = {.struct_size = sizeof info};
    need(!seqgen_describe(model, &info, message, sizeof message), message);
    need(info.sample_rate == 0 && info.classes <= 256 && (info.channels == 0) == (info.source_classes == 0),
         "this is no language model over bytes");

    void *state = room(info.state_bytes);
    need(!seqgen_state_init(model, state, info.state_bytes, message, sizeof message), message);
    int32_t given[BLOCK], drawn[BLOCK];
    float *logits = room(sizeof(float) * BLOCK * (size_t)info.classes);
    const uint64_t stream = 0;
    uint64_t position = 0;
    seqgen_call call = {.struct_size = sizeof call, .states = &state, .streams = 1};
    call.workspace_bytes = info.workspace_bytes;
    call.workspace = room(info.workspace_bytes);
    call.symbols = given;
    call.logits = logits;
    call.drawn = drawn;
    call.seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    call.temperature = argc > 4 ? strtof(argv[4], NULL) : 1.0f;
    call.stream_ids = &stream;
    call.positions = &position;

    double taken = 0;
    long long read = 0, left = strtoll(argv[2], NULL, 10);
    float *columns = info.source_classes > 0 ? source_columns(model, info.channels, left) : NULL;
    unsigned char bytes[BLOCK];
    for (size_t count; (count = fread(bytes, 1, BLOCK, stdin)) > 0; read += (long long)count) {
        for (size_t i = 0; i < count; ++i) given[i] = bytes[i];
        call.frames = call.samples = (int64_t)count;
        need(!seqgen_step(model, &call, message, sizeof message), message);
        for (size_t i = 0; i < count; ++i) taken += bits(logits + i * (size_t)info.classes, info.classes, given[i]);
    }
    for (; left > 0; left -= call.samples) {
        call.frames = call.samples = left < BLOCK ? left : BLOCK;
        if (columns != NULL) call.features = columns + position * (size_t)info.channels;
        need(!seqgen_sample(model, &call, message, sizeof message), message);
        for (int64_t i = 0; i < call.samples; ++i) putchar(drawn[i]);
        position += (uint64_t)call.samples;
    }
    if (read > 0) fprintf(stderr, "complete: %lld bytes read, %.3f bits a byte; ", read, taken / (double)read);
    fprintf(stderr, "%s kernels\n", info.isa);
    need(!seqgen_close(model, message, sizeof message), message);
    free(state), free(logits), free(call.workspace), free(columns);
    return 0;
}
